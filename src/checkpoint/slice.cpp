// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/slice.hpp"

#include <fmt/format.h>

namespace streamer::core {

namespace {

// A validated shape's product times its bits fits in 64 bits, but the product of some of its
// dimensions may not if another is zero: then there are no bytes and nobody asks.
std::uint64_t product(std::span<const std::uint64_t> extents) {
  std::uint64_t all = 1;
  for (const std::uint64_t extent : extents)
    all *= extent;
  return all;
}

Error bad_slice(const TensorView& tensor, const Slice& slice, std::string_view why) {
  return Error(ErrorKind::invalid_argument,
               fmt::format("slice [{}, {}) along dimension {} of tensor \"{}\": {}", slice.start,
                           slice.stop, slice.dimension, tensor.name, why));
}

}  // namespace

Result<StridedRange> slice_bytes(const TensorView& tensor, const Slice& slice) {
  if (slice.dimension >= tensor.shape.size()) {
    return bad_slice(tensor, slice,
                     fmt::format("the tensor has {} dimensions", tensor.shape.size()));
  }
  const std::uint64_t extent = tensor.shape[slice.dimension];
  if (slice.start > slice.stop || slice.stop > extent) {
    return bad_slice(tensor, slice, fmt::format("the dimension has {} elements", extent));
  }
  if (slice.start == slice.stop || tensor.bytes.empty()) {
    return StridedRange{tensor.bytes.offset, 0, 0, 0};
  }
  // Bytes are not 0, so no extent is, and every product below is at most the tensor's own.
  const std::uint64_t outer = product(tensor.shape.first(slice.dimension));
  const std::uint64_t inner_bits =
      product(tensor.shape.subspan(slice.dimension + 1)) * dtype_row(tensor.dtype).bits;
  const std::uint64_t skip_bits = slice.start * inner_bits;
  const std::uint64_t run_bits = (slice.stop - slice.start) * inner_bits;
  const std::uint64_t stride_bits = extent * inner_bits;
  const bool is_one_run = outer == 1 || run_bits == stride_bits;
  if (skip_bits % 8 != 0 || (run_bits * (is_one_run ? outer : 1)) % 8 != 0 ||
      (!is_one_run && stride_bits % 8 != 0)) {
    return bad_slice(tensor, slice,
                     fmt::format("elements of {} have {} bits and the slice does not begin and end "
                                 "on a byte",
                                 dtype_row(tensor.dtype).name, dtype_row(tensor.dtype).bits));
  }
  const std::uint64_t offset = tensor.bytes.offset + skip_bits / 8;
  if (is_one_run) {
    const std::uint64_t bytes = run_bits * outer / 8;
    return StridedRange{offset, bytes, bytes, 1};
  }
  return StridedRange{offset, run_bits / 8, stride_bits / 8, outer};
}

std::vector<std::uint64_t> slice_shape(const TensorView& tensor, const Slice& slice) {
  std::vector<std::uint64_t> shape(tensor.shape.begin(), tensor.shape.end());
  shape[slice.dimension] = slice.stop - slice.start;
  return shape;
}

}  // namespace streamer::core
