// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which bytes of a tensor a part of it covers. Pure.

#include <cstdint>
#include <vector>

#include "base/result.hpp"
#include "checkpoint/tensor_table.hpp"

namespace streamer::core::inline checkpoint {

// [start, stop) along one dimension.
struct Slice {
  std::uint32_t dimension = 0;
  std::uint64_t start = 0;
  std::uint64_t stop = 0;
};

// count runs of run_bytes each, the first at offset of the object, each stride_bytes after the one
// before. Dense ranges are one run (count 1, or 0 if there are no bytes).
struct StridedRange {
  std::uint64_t offset = 0;
  std::uint64_t run_bytes = 0;
  std::uint64_t stride_bytes = 0;
  std::uint64_t count = 0;

  [[nodiscard]] std::uint64_t total_bytes() const noexcept { return run_bytes * count; }
};

// Fails with invalid_argument, naming the tensor: for a dimension that it does not have, bounds
// that are reversed or outside the shape, and a slice of a sub-byte dtype whose runs do not begin
// and end on bytes. Adjacent runs are merged, so a slice of the first dimension, or a full one, has
// one run.
Result<StridedRange> slice_bytes(const TensorView& tensor, const Slice& slice);

// The shape of what slice_bytes() gives.
[[nodiscard]] std::vector<std::uint64_t> slice_shape(const TensorView& tensor, const Slice& slice);

}  // namespace streamer::core::inline checkpoint
