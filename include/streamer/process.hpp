// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the loads of this process share.

#include <cstdint>

#include "settings.hpp"

namespace streamer {

// Sets what the loads share, by the settings named process_*; the others come from the environment.
// Applies to running loads too. Thread-safe. Errors: invalid_argument.
inline Result<void> configure_process(const Settings& settings = {}) {
  streamer_error* error = nullptr;
  if (streamer_process_configure(settings.get(), &error) != STREAMER_OK) return Error(error);
  return {};
}

struct ProcessUse {
  std::uint64_t memory_bytes = 0;        // host memory held between storage and release
  std::uint64_t memory_limit_bytes = 0;  // for all loads with memory_limit=auto; 0: none yet
  std::uint32_t loads = 0;               // not closed yet, or with tensors not released yet
  std::uint32_t network_loads = 0;       // of these, the ones that are reading over a network
};

// Thread-safe.
inline ProcessUse process_use() noexcept {
  streamer_process_use use = STREAMER_PROCESS_USE_INIT;
  streamer_process_get_use(&use);
  return {use.memory_bytes, use.memory_limit_bytes, use.loads, use.network_loads};
}

}  // namespace streamer
