// SPDX-License-Identifier: Apache-2.0
#pragma once
// The chunks that one kind of reader claims, in the plan's order.

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "engine/chunk_cursor.hpp"

namespace streamer::core::inline engine {

class ChunkQueue {
 public:
  // numbers: of the plan's chunks, in ascending order.
  explicit ChunkQueue(std::vector<std::uint32_t> numbers)
      : numbers_(std::move(numbers)), cursor_(static_cast<std::uint32_t>(numbers_.size())) {}

  [[nodiscard]] std::uint32_t size() const noexcept {
    return static_cast<std::uint32_t>(numbers_.size());
  }

  // Any reader. The number of the next chunk; nullopt once all have been claimed.
  std::optional<std::uint32_t> claim() noexcept {
    const auto at = cursor_.claim();
    if (!at) return std::nullopt;
    return numbers_[*at];
  }

  // Any reader. Claims up to `most` consecutive chunks of this queue: the numbers at [first,
  // second) of it.
  std::pair<std::uint32_t, std::uint32_t> claim_some(std::uint32_t most) noexcept {
    return cursor_.claim_some(most);
  }
  [[nodiscard]] std::uint32_t number(std::uint32_t at) const noexcept { return numbers_[at]; }
  // The number of unclaimed chunks; may be out of date.
  [[nodiscard]] std::uint32_t left() const noexcept { return cursor_.left(); }

 private:
  const std::vector<std::uint32_t> numbers_;
  ChunkCursor cursor_;
};

}  // namespace streamer::core::inline engine
