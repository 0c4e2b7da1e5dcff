// SPDX-License-Identifier: Apache-2.0
#include "base/slot_stack.hpp"

#include <set>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/interleave.hpp"

using namespace streamer::core;
using namespace streamer::test;

TEST_CASE("a slot is taken by one thread at a time, under every order", "[slots]") {
  using Stack = BasicSlotStack<StepAtomic>;
  std::unique_ptr<Stack> stack;
  std::vector<std::optional<std::uint32_t>> taken;
  std::vector<std::uint32_t> all_at_once;
  const auto make = [&]() -> std::vector<std::function<void()>> {
    stack = std::make_unique<Stack>(3);
    stack->push(0);
    stack->push(1);
    taken.assign(3, std::nullopt);
    all_at_once.clear();
    return {
        [&] { taken[0] = stack->pop(); },
        // Takes two and puts the first back: what the other one looked at is on top again, and
        // what lies below it is not what it was.
        [&] {
          const auto first = stack->pop();
          taken[1] = stack->pop();
          if (first) stack->push(*first);
        },
        [&] { stack->push(2); },
    };
  };
  const auto after = [&] {
    std::multiset<std::uint32_t> found;
    for (const auto& one : taken) {
      if (one) found.insert(*one);
    }
    while (const auto one = stack->pop())
      found.insert(*one);
    CHECK(found == std::multiset<std::uint32_t>{0, 1, 2});
  };
  CHECK(every_order(make, after) > 100);
}

TEST_CASE("all slots at once, while others come and go, under every order", "[slots]") {
  using Stack = BasicSlotStack<StepAtomic>;
  std::unique_ptr<Stack> stack;
  std::multiset<std::uint32_t> taken;
  const auto make = [&]() -> std::vector<std::function<void()>> {
    stack = std::make_unique<Stack>(4);
    stack->push(0);
    taken.clear();
    return {
        [&] {
          for (std::uint32_t at = stack->take_all(); at != Stack::kNone; at = stack->below(at))
            taken.insert(at);
        },
        [&] {
          stack->push(1);
          stack->push(2);
        },
        [&] {
          if (const auto one = stack->pop()) taken.insert(*one);
        },
    };
  };
  const auto after = [&] {
    while (const auto one = stack->pop())
      taken.insert(*one);
    CHECK(taken == std::multiset<std::uint32_t>{0, 1, 2});
  };
  CHECK(every_order(make, after) > 100);
}

TEST_CASE("what was done to a slot is seen by who takes it", "[slots]") {
  constexpr std::uint32_t kSlots = 8;
  constexpr int kRounds = 20'000;
  SlotStack stack(kSlots);
  std::vector<std::uint64_t> uses(kSlots);
  for (std::uint32_t slot = 0; slot < kSlots; ++slot)
    stack.push(slot);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int done = 0; done < kRounds;) {
        const auto slot = stack.pop();
        if (!slot) continue;
        ++uses[*slot];  // plain: only its owner may
        ++done;
        stack.push(*slot);
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  std::uint64_t sum = 0;
  for (const std::uint64_t one : uses)
    sum += one;
  CHECK(sum == 4 * kRounds);
}
