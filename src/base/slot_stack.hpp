// SPDX-License-Identifier: Apache-2.0
#pragma once
// A lock-free stack of slot numbers: free slots, or slots that one thread takes all at once. Each
// number is in at most one stack.

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

namespace streamer::core::inline base {

template <template <typename> class Atomic = std::atomic>
class BasicSlotStack {
 public:
  static constexpr std::uint32_t kNone = UINT32_MAX;

  // Empty, for numbers below `slots`, which must be less than kNone.
  explicit BasicSlotStack(std::uint32_t slots)
      : below_(std::make_unique<Atomic<std::uint32_t>[]>(slots)) {}

  // Any thread. Its writes to the slot are visible to the thread that takes the number.
  void push(std::uint32_t slot) noexcept {
    // relaxed: only guessed here; the exchange below says whether it was right.
    std::uint64_t head = head_.load(std::memory_order_relaxed);
    do {
      // relaxed: published by the release below, or read by a pop() whose exchange then fails.
      below_[slot].store(top_of(head), std::memory_order_relaxed);
      // release: pairs with the acquire of pop() and take_all(). Every change of head_ is a
      // read-modify-write, so that it also pairs with one that reads what a later push() left.
    } while (!head_.compare_exchange_weak(head, next_head(head, slot), std::memory_order_release,
                                          std::memory_order_relaxed));
  }

  // Any thread. The number that was pushed last; nullopt if there is none.
  std::optional<std::uint32_t> pop() noexcept {
    std::uint64_t head = head_.load(std::memory_order_acquire);
    for (;;) {
      const std::uint32_t top = top_of(head);
      if (top == kNone) return std::nullopt;
      // relaxed: of use only if the head is still the same, count and all, so that nobody took the
      // slot and put it back on another meanwhile.
      const std::uint32_t below = below_[top].load(std::memory_order_relaxed);
      if (head_.compare_exchange_weak(head, next_head(head, below), std::memory_order_acquire,
                                      std::memory_order_acquire))
        return top;
    }
  }

  // Any thread. All of them: the one that was pushed last, from which below() leads to the others;
  // kNone if there is none.
  std::uint32_t take_all() noexcept {
    std::uint64_t head = head_.load(std::memory_order_acquire);
    while (top_of(head) != kNone &&
           !head_.compare_exchange_weak(head, next_head(head, kNone), std::memory_order_acquire,
                                        std::memory_order_acquire)) {
    }
    return top_of(head);
  }

  // Only for slots that take_all() gave, until they are pushed again.
  [[nodiscard]] std::uint32_t below(std::uint32_t slot) const noexcept {
    return below_[slot].load(std::memory_order_relaxed);
  }

  [[nodiscard]] bool is_empty() const noexcept {
    return top_of(head_.load(std::memory_order_acquire)) == kNone;
  }

 private:
  // The top, and above it how often the head was changed: 2^32 changes between two instructions of
  // one thread do not happen.
  static std::uint32_t top_of(std::uint64_t head) noexcept {
    return static_cast<std::uint32_t>(head);
  }
  static std::uint64_t next_head(std::uint64_t head, std::uint32_t top) noexcept {
    return (((head >> 32) + 1) << 32) | top;
  }

  std::unique_ptr<Atomic<std::uint32_t>[]> below_;  // by slot
  alignas(64) Atomic<std::uint64_t> head_{kNone};
};

using SlotStack = BasicSlotStack<>;

}  // namespace streamer::core::inline base
