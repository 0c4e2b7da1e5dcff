// SPDX-License-Identifier: Apache-2.0
#pragma once
// The calls of a GPU runtime that the library uses, as CUDA and similar runtimes have them. Nothing
// is ever done on the default stream. Tests replace it by a stand-in.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace streamer::core::inline gpu {

using GpuStream = void*;
using GpuEvent = void*;

struct GpuFacts {
  std::string name;         // "NVIDIA H100 80GB HBM3"
  std::string compute;      // "9.0", the version of what it can do
  std::string pci_address;  // "0000:19:00.0", as in /sys/bus/pci/devices, but for capital letters
  std::uint64_t memory_bytes = 0;
  bool has_pools = false;  // allocate_async()
};

// Errors are of kind device and name the call and the runtime's message. Thread-safe; each thread
// has its own current device, which all calls after use_device() use: they are made on threads of
// the library, so that no thread of the caller's ever gets another one.
class GpuRuntime {
 public:
  virtual ~GpuRuntime() = default;

  // "cuda", as in "cuda:0".
  [[nodiscard]] virtual std::string_view kind_name() const noexcept = 0;

  virtual Result<int> device_count() = 0;
  // "driver of CUDA 12.4"
  virtual Result<std::string> version() = 0;
  // Without making a context for it.
  virtual Result<GpuFacts> facts(int device) = 0;
  // Of the calling thread. Makes the device's context if there is none.
  virtual Result<void> use_device(int device) = 0;

  // The device's free bytes.
  virtual Result<std::uint64_t> free_bytes() = 0;
  virtual Result<void*> allocate(std::uint64_t bytes) = 0;
  virtual Result<void> free(void* memory) = 0;
  // From the device's memory pool, in the order of a stream.
  virtual Result<void*> allocate_async(std::uint64_t bytes, GpuStream stream) = 0;
  virtual Result<void> free_async(void* memory, GpuStream stream) = 0;

  // The device whose memory it is; nullopt for memory of the host.
  virtual Result<std::optional<int>> device_of(const void* memory) = 0;

  // Page-locks existing host memory, so that copies from it do not have to wait.
  virtual Result<void> pin(void* memory, std::uint64_t bytes) = 0;
  virtual Result<void> unpin(void* memory) = 0;

  // The stream does not wait for the default stream, nor the default stream for it.
  virtual Result<GpuStream> create_stream() = 0;
  virtual Result<void> destroy_stream(GpuStream stream) = 0;
  // Without timing; waiting for it sleeps instead of spinning.
  virtual Result<GpuEvent> create_event() = 0;
  virtual Result<void> destroy_event(GpuEvent event) = 0;

  // `from` must not change until an event recorded after this call has happened.
  virtual Result<void> copy_to_device(void* to, const void* from, std::uint64_t bytes,
                                      GpuStream stream) = 0;
  virtual Result<void> copy_to_host(void* to, const void* from, std::uint64_t bytes,
                                    GpuStream stream) = 0;
  // Copies rows of row_bytes each within device memory; on each side the rows are their pitch
  // apart.
  virtual Result<void> copy_on_device(void* to, std::uint64_t to_pitch, const void* from,
                                      std::uint64_t from_pitch, std::uint64_t row_bytes,
                                      std::uint64_t rows, GpuStream stream) = 0;
  virtual Result<void> record(GpuEvent event, GpuStream stream) = 0;
  // Waits until the stream has no work left.
  virtual Result<void> synchronize(GpuStream stream) = 0;
  // Waits until no stream of the device has work left.
  virtual Result<void> synchronize_device() = 0;
  // Work queued on the stream from now on waits for the event; the caller does not.
  virtual Result<void> wait_in_stream(GpuStream stream, GpuEvent event) = 0;
  // Waits until all work queued before the event was recorded is done; returns its errors too.
  virtual Result<void> wait_for(GpuEvent event) = 0;
  // The same without waiting: returns whether it is done.
  virtual Result<bool> is_done(GpuEvent event) = 0;
};

}  // namespace streamer::core::inline gpu
