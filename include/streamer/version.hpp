// SPDX-License-Identifier: Apache-2.0
#pragma once
// The version of libstreamer.

#include <cstdint>
#include <string_view>

#include "streamer.h"

namespace streamer {

// major * 1'000'000 + minor * 1'000 + patch of the library at run time, which may be newer than
// these headers (STREAMER_VERSION_NUMBER). Thread-safe.
inline std::uint32_t version() noexcept {
  return streamer_version();
}

// The same version as text, "MAJOR.MINOR.PATCH". Static storage.
inline std::string_view version_string() noexcept {
  return streamer_version_string();
}

// What is in this build, for humans: lines "NAME: VALUE" of curl, TLS, io_uring, GPU and MPI.
// Static storage.
inline std::string_view build_info() noexcept {
  return streamer_build_info();
}

}  // namespace streamer
