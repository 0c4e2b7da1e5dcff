// SPDX-License-Identifier: Apache-2.0
#pragma once
// Memory of one device.

#include <cstddef>
#include <cstdint>

#include "gpu/gpu_runtime.hpp"

namespace streamer::core::inline gpu {

// Where memory of a device comes from: cuMemAlloc, or its memory pool (cuMemAllocAsync).
enum class DeviceAllocator { malloc, pool };

class DeviceMemory {
 public:
  // Nothing is allocated yet.
  DeviceMemory(GpuRuntime& runtime, int device, std::uint64_t bytes, DeviceAllocator allocator)
      : runtime_(runtime), device_(device), bytes_(bytes), allocator_(allocator) {}
  // On any thread. Waits until nothing on the device uses the memory.
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  // Called once; makes the device's context if it does not exist. The device stays the thread's
  // current one. out_of_memory says how much is free.
  Result<void> allocate();

  [[nodiscard]] GpuRuntime& runtime() const noexcept { return runtime_; }
  [[nodiscard]] int device() const noexcept { return device_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
  // nullptr before allocate(), and if there are no bytes.
  [[nodiscard]] std::byte* data() const noexcept { return data_; }

 private:
  Result<void*> allocate_from_pool();
  void give_back();

  GpuRuntime& runtime_;
  const int device_;
  const std::uint64_t bytes_;
  const DeviceAllocator allocator_;
  GpuStream stream_ = nullptr;  // of the pool
  std::byte* data_ = nullptr;
};

}  // namespace streamer::core::inline gpu
