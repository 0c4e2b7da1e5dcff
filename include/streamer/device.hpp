// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where memory is: the host's, or a GPU's.

#include <cstdint>

#include "result.hpp"

namespace streamer {

struct Device {
  enum class Kind : std::int32_t { host = STREAMER_DEVICE_HOST, cuda = STREAMER_DEVICE_CUDA };
  Kind kind = Kind::host;
  std::int32_t number = 0;  // of the CUDA runtime; 0 for the host

  friend bool operator==(const Device&, const Device&) = default;
};

constexpr Device host() noexcept {
  return {};
}
constexpr Device cuda(std::int32_t number = 0) noexcept {
  return {Device::Kind::cuda, number};
}

// How fast pinned host memory is copied to the device, in bytes per second: the ceiling of every
// load to it. Takes half a second. Thread-safe. Errors: device, which says what is missing.
inline Result<double> copy_rate(Device device) {
  double bytes_per_second = 0;
  streamer_error* error = nullptr;
  if (streamer_device_copy_rate(static_cast<std::int32_t>(device.kind), device.number,
                                &bytes_per_second, &error) != STREAMER_OK) {
    return Error(error);
  }
  return bytes_per_second;
}

// Gives back to the system the pinned memory that loads to devices keep for the next one; returns
// how many bytes that was. Thread-safe.
inline std::uint64_t trim() noexcept {
  return streamer_trim();
}

}  // namespace streamer
