// SPDX-License-Identifier: Apache-2.0
#pragma once
// Distributes chunks to readers: each number is handed out once, in order, wait-free.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>
#include <utility>

namespace streamer::core::inline engine {

template <template <typename> class Atomic = std::atomic>
class BasicChunkCursor {
 public:
  explicit BasicChunkCursor(std::uint32_t chunks) noexcept : chunks_(chunks) {}

  // Any reader. The next chunk, or nullopt once all have been claimed.
  std::optional<std::uint32_t> claim() noexcept {
    // relaxed: the plan was complete before any reader's thread began, and a claim publishes
    // nothing.
    const std::uint64_t claimed = next_.fetch_add(1, std::memory_order_relaxed);
    if (claimed >= chunks_) return std::nullopt;
    return static_cast<std::uint32_t>(claimed);
  }

  // Any reader. Claims the next `most` numbers, or as many as are left: [first, second), empty once
  // all have been claimed.
  std::pair<std::uint32_t, std::uint32_t> claim_some(std::uint32_t most) noexcept {
    const std::uint64_t claimed = next_.fetch_add(most, std::memory_order_relaxed);
    const auto within = [&](std::uint64_t number) {
      return static_cast<std::uint32_t>(std::min<std::uint64_t>(number, chunks_));
    };
    return {within(claimed), within(claimed + most)};
  }

  // The number of unclaimed chunks; may be out of date.
  [[nodiscard]] std::uint32_t left() const noexcept {
    const std::uint64_t next = next_.load(std::memory_order_relaxed);
    return next >= chunks_ ? 0 : static_cast<std::uint32_t>(chunks_ - next);
  }

 private:
  // 64 bits: readers go on claiming past the end, once each, and must never wrap round.
  alignas(64) Atomic<std::uint64_t> next_{0};
  const std::uint32_t chunks_;
};

using ChunkCursor = BasicChunkCursor<>;

}  // namespace streamer::core::inline engine
