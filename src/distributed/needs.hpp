// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a rank needs of the checkpoint's objects, as ranks send it to each other.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "checkpoint/checkpoint.hpp"
#include "engine/plan.hpp"

namespace streamer::core::inline distributed {

struct Need {
  std::uint32_t object = 0;
  StridedRange range;  // not empty
};

// The offset after the range's last byte.
[[nodiscard]] std::uint64_t end_of(const StridedRange& range) noexcept;
// How many of the range's bytes lie below the object's byte `offset`.
[[nodiscard]] std::uint64_t bytes_below(const StridedRange& range, std::uint64_t offset) noexcept;

// Ordered by object and offset, as wanted must be; neighbours are merged.
[[nodiscard]] std::vector<Need> needs_of(std::span<const Wanted> wanted);

[[nodiscard]] std::string encode(std::span<const Need> needs);
// corrupt if the text is malformed, or has ranges outside the objects.
Result<std::vector<Need>> decode_needs(std::string_view text, const Checkpoint& checkpoint);

// Ranges that cover all needs, each byte once, by object and offset. All their bytes are needed by
// some rank, except gaps of up to gap_bytes, and except where slices along different dimensions, or
// of uneven shapes, cover each other. needs: one list per rank.
[[nodiscard]] std::vector<Need> unite(std::span<const std::vector<Need>> needs,
                                      std::uint64_t gap_bytes);

}  // namespace streamer::core::inline distributed
