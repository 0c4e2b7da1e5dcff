// SPDX-License-Identifier: Apache-2.0
#pragma once
// Runs small thread bodies under every order of their atomic operations. The code under test takes
// its atomics as a template parameter and is given StepAtomic, each operation of which is one step.
// Orders are sequentially consistent: memory orders are ThreadSanitizer's and the reviewer's
// business.

#include <ucontext.h>

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace streamer::test {

// One run of several bodies on one thread, each on a stack of its own, in the order that choices
// say.
class Turns {
 public:
  explicit Turns(std::vector<std::function<void()>> bodies) : bodies_(std::move(bodies)) {}

  // choices[k] picks among the bodies that are not done at step k; 0 beyond its end. Returns, for
  // each step, how many there were to pick from.
  std::vector<std::size_t> run(const std::vector<std::size_t>& choices) {
    current = this;
    fibers_.resize(bodies_.size());
    for (std::size_t i = 0; i < bodies_.size(); ++i) {
      Fiber& fiber = fibers_[i];
      fiber.stack = std::make_unique_for_overwrite<std::byte[]>(kStackBytes);
      ::getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.get();
      fiber.context.uc_stack.ss_size = kStackBytes;
      fiber.context.uc_link = &scheduler_;
      ::makecontext(&fiber.context, &Turns::enter, 0);
    }
    std::vector<std::size_t> width;
    for (;;) {
      std::vector<std::size_t> left;
      for (std::size_t i = 0; i < fibers_.size(); ++i) {
        if (!fibers_[i].is_done) left.push_back(i);
      }
      if (left.empty()) break;
      const std::size_t step = width.size();
      running_ = left[step < choices.size() ? choices[step] : 0];
      width.push_back(left.size());
      is_inside_ = true;
      ::swapcontext(&scheduler_, &fibers_[running_].context);
      is_inside_ = false;
    }
    current = nullptr;
    return width;
  }

  // Called by StepAtomic before each operation: lets another body have its turn.
  static void step() {
    if (current == nullptr || !current->is_inside_)
      return;  // set-up and checks, outside the bodies
    ::swapcontext(&current->fibers_[current->running_].context, &current->scheduler_);
  }

 private:
  static constexpr std::size_t kStackBytes = 64 * 1024;
  struct Fiber {
    ucontext_t context{};
    std::unique_ptr<std::byte[]> stack;
    bool is_done = false;
  };

  static void enter() {
    Turns& turns = *current;
    turns.bodies_[turns.running_]();
    turns.fibers_[turns.running_].is_done = true;
  }

  static inline Turns* current = nullptr;

  std::vector<std::function<void()>> bodies_;
  std::vector<Fiber> fibers_;
  ucontext_t scheduler_{};
  std::size_t running_ = 0;
  bool is_inside_ = false;
};

template <typename T>
class StepAtomic {
 public:
  StepAtomic(T value = T()) : value_(value) {}

  T load(std::memory_order) const { return stepped(), value_; }
  void store(T value, std::memory_order) { stepped(), value_ = value; }
  T fetch_add(T amount, std::memory_order) {
    stepped();
    const T before = value_;
    value_ = static_cast<T>(value_ + amount);
    return before;
  }
  T fetch_sub(T amount, std::memory_order) {
    stepped();
    const T before = value_;
    value_ = static_cast<T>(value_ - amount);
    return before;
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order, std::memory_order) {
    stepped();
    if (value_ == expected) {
      value_ = desired;
      return true;
    }
    expected = value_;
    return false;
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order a, std::memory_order b) {
    return compare_exchange_strong(expected, desired, a, b);
  }

 private:
  static void stepped() { Turns::step(); }
  T value_;
};

// make() builds a fresh case and returns its bodies; after() is called when they are done. Returns
// how many orders were run; stops at `most`.
inline std::size_t every_order(const std::function<std::vector<std::function<void()>>()>& make,
                               const std::function<void()>& after, std::size_t most = 20'000) {
  std::vector<std::size_t> choices;
  for (std::size_t orders = 1;; ++orders) {
    const std::vector<std::size_t> width = Turns(make()).run(choices);
    after();
    choices.resize(width.size());
    while (!choices.empty() && choices.back() + 1 == width[choices.size() - 1])
      choices.pop_back();
    if (choices.empty() || orders == most) return orders;
    ++choices.back();
  }
}

}  // namespace streamer::test
