// SPDX-License-Identifier: Apache-2.0
#pragma once
// The buffers of an exchange, and copies between them and tensors: in host memory, or on a device,
// where copies are queued in a stream.

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/result.hpp"
#include "engine/plan_request.hpp"
#include "gpu/device_memory.hpp"
#include "gpu/gpu_runtime.hpp"

namespace streamer::core::inline distributed {

// rows of row_bytes each, the rows pitch bytes apart.
struct Rows {
  std::byte* to = nullptr;
  std::uint64_t to_pitch = 0;
  const std::byte* from = nullptr;
  std::uint64_t from_pitch = 0;
  std::uint64_t row_bytes = 0;
  std::uint64_t rows = 1;
};

// Used by the one thread that made it. A device is the current one of that thread.
class ExchangeMemory {
 public:
  virtual ~ExchangeMemory() = default;

  // Lives as long as this.
  virtual Result<std::byte*> allocate(std::uint64_t bytes) = 0;
  // Done once finish_copies() returned.
  virtual Result<void> copy(const Rows& rows) = 0;
  virtual Result<void> finish_copies() = 0;
  // Copies from now on wait for the work that the consumer has queued on its stream so far.
  virtual Result<void> follow(GpuStream consumer) = 0;
};

std::unique_ptr<ExchangeMemory> host_exchange_memory();
Result<std::unique_ptr<ExchangeMemory>> device_exchange_memory(GpuRuntime& runtime, int device);

}  // namespace streamer::core::inline distributed
