// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/slice.hpp"

#include <fmt/format.h>

namespace streamer::core::inline checkpoint {

namespace {

// A validated shape's product times its bits fits in 64 bits, but the product of some of its
// dimensions may not if another is zero: then there are no bytes, and the product is not used.
std::uint64_t product(std::span<const std::uint64_t> extents) {
  std::uint64_t all = 1;
  for (const std::uint64_t extent : extents)
    all *= extent;
  return all;
}

// Of that many elements; nullopt if they do not end with a block and a byte.
std::optional<std::uint64_t> whole_bytes(const DtypeRow& dtype, std::uint64_t elements) {
  const auto bits = bits_of(dtype, elements);
  return bits && *bits % 8 == 0 ? std::optional(*bits / 8) : std::nullopt;
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
  const std::uint64_t inner = product(tensor.shape.subspan(slice.dimension + 1));
  const DtypeRow& dtype = dtype_row(tensor.dtype);
  const bool is_one_run = outer == 1 || slice.stop - slice.start == extent;
  const auto skip = whole_bytes(dtype, slice.start * inner);
  const auto run =
      whole_bytes(dtype, (slice.stop - slice.start) * inner * (is_one_run ? outer : 1));
  const auto stride = is_one_run ? run : whole_bytes(dtype, extent * inner);
  if (!skip || !run || !stride) {
    return bad_slice(
        tensor, slice,
        fmt::format("{} of {} have {} bits and the slice does not begin and end on a "
                    "byte",
                    dtype.elements == 1 ? "elements" : "blocks", dtype.name, dtype.bits));
  }
  const std::uint64_t offset = tensor.bytes.offset + *skip;
  if (is_one_run) return StridedRange{offset, *run, *run, 1};
  return StridedRange{offset, *run, *stride, outer};
}

std::vector<std::uint64_t> slice_shape(const TensorView& tensor, const Slice& slice) {
  std::vector<std::uint64_t> shape(tensor.shape.begin(), tensor.shape.end());
  shape[slice.dimension] = slice.stop - slice.start;
  return shape;
}

}  // namespace streamer::core::inline checkpoint
