// SPDX-License-Identifier: Apache-2.0
#pragma once
// The calls of a GPU's runtime that we make, and no others, as CUDA and its likes have them.
// Nothing is ever done on the default stream. Tests put a stand-in here.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace streamer::core {

using GpuStream = void*;
using GpuEvent = void*;

// Errors are of kind device and name the call and what the runtime said. Thread-safe, but for the
// current device, which every thread has for itself, and which all calls but the first two go by.
class GpuRuntime {
 public:
  virtual ~GpuRuntime() = default;

  // "cuda", as in "cuda:0".
  [[nodiscard]] virtual std::string_view kind_name() const noexcept = 0;

  virtual Result<int> device_count() = 0;
  // Of the calling thread.
  virtual Result<int> current_device() = 0;
  virtual Result<void> use_device(int device) = 0;

  // Bytes of the device that nobody has.
  virtual Result<std::uint64_t> free_bytes() = 0;
  // "0000:19:00.0", as the folders of /sys/bus/pci/devices are called.
  virtual Result<std::string> pci_address() = 0;

  virtual Result<void*> allocate(std::uint64_t bytes) = 0;
  virtual Result<void> free(void* memory) = 0;
  // From the device's memory pool, in the order of a stream.
  virtual Result<void*> allocate_async(std::uint64_t bytes, GpuStream stream) = 0;
  virtual Result<void> free_async(void* memory, GpuStream stream) = 0;

  // Host memory that is there already, page-locked so that copies from it do not have to wait.
  virtual Result<void> pin(void* memory, std::uint64_t bytes) = 0;
  virtual Result<void> unpin(void* memory) = 0;

  // Does not wait for the default stream, nor it for this one.
  virtual Result<GpuStream> create_stream() = 0;
  virtual Result<void> destroy_stream(GpuStream stream) = 0;
  // Without timing; waiting for it sleeps.
  virtual Result<GpuEvent> create_event() = 0;
  virtual Result<void> destroy_event(GpuEvent event) = 0;

  // `from` must stay as it is until an event that is recorded after this has happened.
  virtual Result<void> copy_to_device(void* to, const void* from, std::uint64_t bytes,
                                      GpuStream stream) = 0;
  // rows of row_bytes each, from and to memory of the device, where they lie their pitch apart.
  virtual Result<void> copy_on_device(void* to, std::uint64_t to_pitch, const void* from,
                                      std::uint64_t from_pitch, std::uint64_t row_bytes,
                                      std::uint64_t rows, GpuStream stream) = 0;
  virtual Result<void> record(GpuEvent event, GpuStream stream) = 0;
  // Until nothing is left in the stream.
  virtual Result<void> synchronize(GpuStream stream) = 0;
  // Until nothing is left in any stream of the device.
  virtual Result<void> synchronize_device() = 0;
  // What is put into the stream from now on waits for the event; the caller does not.
  virtual Result<void> wait_in_stream(GpuStream stream, GpuEvent event) = 0;
  // Until all that stood in the stream when the event was recorded is done, errors included.
  virtual Result<void> wait_for(GpuEvent event) = 0;
  // The same without waiting: whether it is done.
  virtual Result<bool> is_done(GpuEvent event) = 0;
};

}  // namespace streamer::core
