// SPDX-License-Identifier: Apache-2.0
#pragma once
// How far readers may run ahead of the consumer: flow control as in TCP, over the line of bytes on
// which the plan lays its items. With a ring of R bytes, position p may be filled once every item
// that begins at or before p - R was released.

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace streamer::core::inline engine {

template <template <typename> class Atomic = std::atomic>
class BasicWindow {
 public:
  // positions[i] is where item i begins on the line; ascending. ring_bytes 0: no limit, and
  // positions may be empty.
  BasicWindow(std::uint64_t ring_bytes, std::vector<std::uint64_t> positions)
      : ring_bytes_(ring_bytes),
        positions_(std::move(positions)),
        released_(std::make_unique<Atomic<bool>[]>(positions_.size())) {}

  // Any reader. Whether bytes up to position_end may be written. Once true it stays true, and the
  // releases that made it true happened before.
  [[nodiscard]] bool admits(std::uint64_t position_end) const noexcept {
    if (ring_bytes_ == 0) return true;
    // acquire: pairs with the release of the compare_exchange in release(), which had seen every
    // released_ up to here; so their holders no longer use the memory.
    const std::uint32_t first_held = first_held_.load(std::memory_order_acquire);
    if (first_held == positions_.size()) return true;
    return position_end <= positions_[first_held] + ring_bytes_;
  }

  // Any thread, once per item. True if the window moved, so that readers may have to be woken.
  bool release(std::uint32_t item) noexcept {
    if (ring_bytes_ == 0) return false;
    // seq_cst, here and in the load below: of two threads that release neighbours at the same
    // moment, one must see the other's flag, or the window would stop between them.
    released_[item].store(true, std::memory_order_seq_cst);
    std::uint32_t first_held = first_held_.load(std::memory_order_seq_cst);
    bool moved = false;
    while (first_held < positions_.size() &&
           released_[first_held].load(std::memory_order_seq_cst)) {
      // On failure first_held is where another thread moved it: continue from there.
      if (first_held_.compare_exchange_strong(first_held, first_held + 1, std::memory_order_seq_cst,
                                              std::memory_order_seq_cst)) {
        ++first_held;
        moved = true;
      }
    }
    return moved;
  }

 private:
  const std::uint64_t ring_bytes_;
  const std::vector<std::uint64_t> positions_;
  const std::unique_ptr<Atomic<bool>[]> released_;
  alignas(64) Atomic<std::uint32_t> first_held_{0};
};

using Window = BasicWindow<>;

}  // namespace streamer::core::inline engine
