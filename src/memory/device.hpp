// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where memory is.

#include <cstdint>

namespace streamer::core::inline memory {

// kind: 0 is the host; others are DLPack's device types (DLDeviceType of dlpack.h), which is what
// the C ABI has too. number: of that kind's runtime, from 0; 0 for the host.
struct Device {
  std::int32_t kind = 0;
  std::int32_t number = 0;

  [[nodiscard]] bool is_host() const noexcept { return kind == 0; }
  friend bool operator==(const Device&, const Device&) = default;
};

inline constexpr Device kHost;
inline constexpr std::int32_t kCudaKind = 2;  // kDLCUDA

}  // namespace streamer::core::inline memory
