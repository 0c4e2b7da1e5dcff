// SPDX-License-Identifier: Apache-2.0
#include "gpu/device_memory.hpp"

#include <fmt/format.h>

#include "base/text.hpp"
#include "gpu/device_thread.hpp"

namespace streamer::core::inline gpu {

Result<void> DeviceMemory::allocate() {
  TRY(runtime_.use_device(device_));
  if (bytes_ == 0) return {};
  auto memory =
      allocator_ == DeviceAllocator::malloc ? runtime_.allocate(bytes_) : allocate_from_pool();
  if (memory) {
    data_ = static_cast<std::byte*>(*memory);
    return {};
  }
  if (memory.error().kind() != ErrorKind::out_of_memory) return std::move(memory).error();
  const auto free = runtime_.free_bytes();
  return Error(
      ErrorKind::out_of_memory,
      fmt::format(
          "{}:{} cannot allocate {} bytes ({}) in one piece for the load's tensors{}: {}",
          runtime_.kind_name(), device_, bytes_, format_bytes(bytes_),
          free ? fmt::format(
                     "; {} bytes ({}) are free: free more, load less, or set device_memory_limit",
                     *free, format_bytes(*free))
               : "",
          memory.error().message()));
}

Result<void*> DeviceMemory::allocate_from_pool() {
  stream_ = TRY(runtime_.create_stream());
  void* const memory = TRY(runtime_.allocate_async(bytes_, stream_));
  data_ = static_cast<std::byte*>(memory);
  // Afterwards any stream may use it.
  TRY(runtime_.synchronize(stream_));
  return memory;
}

DeviceMemory::~DeviceMemory() {
  if (data_ == nullptr && stream_ == nullptr) return;
  run_on_device(runtime_, device_, [this] { give_back(); });
}

// Failures are ignored: what a failed device keeps is lost with its context.
void DeviceMemory::give_back() {
  // Streams of the caller that are unknown here may still use it.
  static_cast<void>(runtime_.synchronize_device().has_value());
  if (allocator_ == DeviceAllocator::malloc) {
    static_cast<void>(runtime_.free(data_).has_value());
    return;
  }
  if (data_ != nullptr) {
    static_cast<void>(runtime_.free_async(data_, stream_).has_value());
    static_cast<void>(runtime_.synchronize(stream_).has_value());
  }
  static_cast<void>(runtime_.destroy_stream(stream_).has_value());
}

}  // namespace streamer::core::inline gpu
