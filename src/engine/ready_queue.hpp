// SPDX-License-Identifier: Apache-2.0
#pragma once
// Finished items on their way to the consumer. Every item passes once, so the queue is as long as
// the plan, no slot is used twice, and no thread ever has to wait.

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

namespace streamer::core::inline engine {

template <template <typename> class Atomic = std::atomic>
class BasicReadyQueue {
 public:
  explicit BasicReadyQueue(std::uint32_t items)
      : slots_(std::make_unique<Atomic<std::uint32_t>[]>(items)), capacity_(items) {}

  // Any reader. No item may be pushed twice.
  void push(std::span<const std::uint32_t> items) noexcept {
    // relaxed: only distributes the slots. Each slot's own store publishes.
    const auto count = static_cast<std::uint32_t>(items.size());
    std::uint32_t slot = tail_.fetch_add(count, std::memory_order_relaxed);
    for (const std::uint32_t item : items) {
      // release: pairs with the acquire in pop() and passes on what the reader saw, which is the
      // item's bytes (see TensorCountdown).
      slots_[slot++].store(item + 1, std::memory_order_release);
    }
  }

  // The one consumer. nullopt if nothing is ready: a slot that is taken but not yet filled holds
  // back those after it, for as long as its reader takes to fill it.
  std::optional<std::uint32_t> pop() noexcept {
    if (head_ == capacity_) return std::nullopt;
    // acquire: pairs with the release in push().
    const std::uint32_t filled = slots_[head_].load(std::memory_order_acquire);
    if (filled == 0) return std::nullopt;
    ++head_;
    return filled - 1;
  }

  // The one consumer: would pop() find one?
  [[nodiscard]] bool has_ready() const noexcept {
    return head_ != capacity_ && slots_[head_].load(std::memory_order_acquire) != 0;
  }

 private:
  std::unique_ptr<Atomic<std::uint32_t>[]> slots_;  // item + 1; 0: not filled
  const std::uint32_t capacity_;
  // On lines of their own: all readers write the tail while the consumer moves its head.
  alignas(64) Atomic<std::uint32_t> tail_{0};
  alignas(64) std::uint32_t head_ = 0;  // the consumer's own
};

using ReadyQueue = BasicReadyQueue<>;

}  // namespace streamer::core::inline engine
