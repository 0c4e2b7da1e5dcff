// SPDX-License-Identifier: Apache-2.0
#include "engine/plan_request.hpp"

#include <fmt/format.h>

namespace streamer::core::inline engine {

Result<StridedRange> requested_bytes(const TensorView& tensor, const PlanRequest& request) {
  const std::uint64_t size = tensor.bytes.size;
  switch (request.part) {
    case Part::whole:
      return whole_bytes(tensor);
    case Part::slice:
      return slice_bytes(tensor, {request.dimension, request.start, request.stop});
    case Part::bytes:
      break;
  }
  if (request.start > request.stop || request.stop > size) {
    return Error(ErrorKind::invalid_argument,
                 fmt::format("bytes [{}, {}) of tensor \"{}\" are outside its {} bytes",
                             request.start, request.stop, tensor.name, size));
  }
  const std::uint64_t wanted = request.stop - request.start;
  return StridedRange{tensor.bytes.offset + request.start, wanted, wanted, wanted == 0 ? 0U : 1U};
}

std::vector<std::uint64_t> requested_shape(const TensorView& tensor, const PlanRequest& request) {
  switch (request.part) {
    case Part::whole:
      return {tensor.shape.begin(), tensor.shape.end()};
    case Part::slice:
      return slice_shape(tensor, {request.dimension, request.start, request.stop});
    case Part::bytes:
      break;
  }
  return {request.stop - request.start};
}

}  // namespace streamer::core::inline engine
