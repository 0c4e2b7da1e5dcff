// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a load did and what held it back.

#include <string_view>

#include "streamer.h"

namespace streamer {

// The fields are those of streamer_load_stats; see there. notes lives as long as the Load.
using LoadStats = streamer_load_stats;

// "storage", "CPU", "memory limit", "consumer", "bandwidth cap", "nothing". Static storage.
inline std::string_view held_back_by(const LoadStats& stats) noexcept {
  return streamer_held_back_by_name(stats.held_back_by);
}

}  // namespace streamer
