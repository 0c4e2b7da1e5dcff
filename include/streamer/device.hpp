// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where memory is: on the host or on a GPU.

#include <cstdint>
#include <string>

#include "result.hpp"

namespace streamer {

struct Device {
  // Other values are DLPack's device types, if the library was built for them.
  enum class Kind : std::int32_t { host = STREAMER_DEVICE_HOST, cuda = STREAMER_DEVICE_CUDA };
  Kind kind = Kind::host;
  std::int32_t number = 0;  // as the device's runtime counts; 0 for the host

  // For streamer.h.
  streamer_device c() const noexcept { return {static_cast<std::int32_t>(kind), number}; }
  static Device of(streamer_device device) noexcept {
    return {static_cast<Kind>(device.kind), device.number};
  }
  friend bool operator==(const Device&, const Device&) = default;
};

constexpr Device host() noexcept {
  return {};
}
constexpr Device cuda(std::int32_t number = 0) noexcept {
  return {Device::Kind::cuda, number};
}

// Parses "host" or "cpu", "cuda", "cuda:1", or another kind the library was built for. Errors:
// invalid_argument.
inline Result<Device> device_named(const std::string& text) {
  streamer_device device{};
  streamer_error* error = nullptr;
  if (streamer_device_parse(text.c_str(), &device, &error) != STREAMER_OK) return Error(error);
  return Device::of(device);
}

// "host", "cuda:1".
inline std::string name(Device device) {
  const std::string kind = streamer_device_kind_name(device.c().kind);
  return device == host() ? kind : kind + ":" + std::to_string(device.number);
}

// Measures how fast pinned host memory is copied to the device, in bytes per second: the ceiling of
// every load to it. Takes half a second. Thread-safe. Errors: device, which says what is missing.
inline Result<double> copy_rate(Device device) {
  double bytes_per_second = 0;
  streamer_error* error = nullptr;
  if (streamer_device_copy_rate(device.c(), &bytes_per_second, &error) != STREAMER_OK)
    return Error(error);
  return bytes_per_second;
}

// Returns to the system the memory that loads keep for the next one: see streamer_trim().
// Thread-safe.
inline std::uint64_t trim() noexcept {
  return streamer_trim();
}

}  // namespace streamer
