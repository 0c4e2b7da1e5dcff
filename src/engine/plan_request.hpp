// SPDX-License-Identifier: Apache-2.0
#pragma once
// One request to a load: which part of which tensor, and where to put it.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "checkpoint/slice.hpp"
#include "checkpoint/tensor_table.hpp"
#include "memory/device.hpp"

namespace streamer::core::inline engine {

enum class Part : std::uint8_t { whole, slice, bytes };

struct PlanRequest {
  std::uint32_t tensor = 0;
  Part part = Part::whole;
  // Part::slice: the dimension, its start and its stop. Part::bytes: begin and end in the tensor.
  std::uint32_t dimension = 0;
  std::uint64_t start = 0;
  std::uint64_t stop = 0;
  Device device = {};  // where the bytes go
  // Memory of the caller on that device, with room for the part; or nullptr for the load's own.
  std::byte* destination = nullptr;
  std::uint64_t tag = 0;  // the caller's own
  // Higher priorities are read first, if the load reads in storage order.
  std::uint32_t priority = 0;
};

// All bytes of the tensor.
[[nodiscard]] inline StridedRange whole_bytes(const TensorView& tensor) noexcept {
  const std::uint64_t size = tensor.bytes.size;
  return {tensor.bytes.offset, size, size, size == 0 ? 0U : 1U};
}

// The requested bytes of the object. Fails with invalid_argument as slice_bytes() does, and on a
// byte range outside the tensor.
Result<StridedRange> requested_bytes(const TensorView& tensor, const PlanRequest& request);

// The shape of what is yielded: the tensor's own, the slice's, or [bytes] for a byte range.
[[nodiscard]] std::vector<std::uint64_t> requested_shape(const TensorView& tensor,
                                                         const PlanRequest& request);

}  // namespace streamer::core::inline engine
