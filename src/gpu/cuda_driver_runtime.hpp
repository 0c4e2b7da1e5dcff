// SPDX-License-Identifier: Apache-2.0
#pragma once
// The driver's calls as a GPU runtime. Devices are used in their primary contexts, which are those
// of the CUDA runtime and so of torch: memory, streams and events may be passed to and fro.

#include <cstdint>
#include <deque>

#include "base/guarded.hpp"
#include "gpu/cuda_driver.hpp"
#include "gpu/gpu_runtime.hpp"

namespace streamer::core::inline gpu {

class CudaDriverRuntime : public GpuRuntime {
 public:
  // Counts the devices once: a driver shows the same ones as long as the process lives.
  static Result<int> count_devices(const CudaDriver& driver);
  CudaDriverRuntime(const CudaDriver& driver, int devices);

  [[nodiscard]] std::string_view kind_name() const noexcept override { return "cuda"; }
  Result<int> device_count() override;
  Result<std::string> version() override;
  Result<GpuFacts> facts(int device) override;
  Result<void> use_device(int device) override;
  Result<std::uint64_t> free_bytes() override;
  Result<void*> allocate(std::uint64_t bytes) override;
  Result<void> free(void* memory) override;
  Result<void*> allocate_async(std::uint64_t bytes, GpuStream stream) override;
  Result<void> free_async(void* memory, GpuStream stream) override;
  Result<std::optional<int>> device_of(const void* memory) override;
  Result<void> pin(void* memory, std::uint64_t bytes) override;
  Result<void> unpin(void* memory) override;
  Result<GpuStream> create_stream() override;
  Result<void> destroy_stream(GpuStream stream) override;
  Result<GpuEvent> create_event() override;
  Result<void> destroy_event(GpuEvent event) override;
  Result<void> copy_to_device(void* to, const void* from, std::uint64_t bytes,
                              GpuStream stream) override;
  Result<void> copy_to_host(void* to, const void* from, std::uint64_t bytes,
                            GpuStream stream) override;
  Result<void> copy_on_device(void* to, std::uint64_t to_pitch, const void* from,
                              std::uint64_t from_pitch, std::uint64_t row_bytes, std::uint64_t rows,
                              GpuStream stream) override;
  Result<void> record(GpuEvent event, GpuStream stream) override;
  Result<void> synchronize(GpuStream stream) override;
  Result<void> synchronize_device() override;
  Result<void> wait_in_stream(GpuStream stream, GpuEvent event) override;
  Result<void> wait_for(GpuEvent event) override;
  Result<bool> is_done(GpuEvent event) override;

 private:
  [[nodiscard]] Result<void> check(std::string_view call, cuda_abi::Status status) const {
    return check_cuda(driver_.calls, call, status);
  }
  [[nodiscard]] Result<void> check_process() const;

  const CudaDriver driver_;
  const std::uint32_t generation_;
  // By device; nullptr: not used yet. Each under a lock of its own, as making one takes long.
  std::deque<Guarded<cuda_abi::Context>> contexts_;
};

}  // namespace streamer::core::inline gpu
