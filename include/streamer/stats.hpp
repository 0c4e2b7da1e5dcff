// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a load did and what held it back.

#include <string_view>
#include <vector>

#include "streamer.h"

namespace streamer {

// The fields are documented at streamer_load_stats. notes lives as long as the Load.
using LoadStats = streamer_load_stats;

// "storage", "CPU", "memory limit", "consumer", "bandwidth cap", "nothing". Static storage.
inline std::string_view held_back_by(const LoadStats& stats) noexcept {
  return streamer_held_back_by_name(stats.held_back_by);
}

// One of the numbers that a load counts. Views point to static storage.
struct StatInfo {
  std::string_view name;
  std::string_view meaning;
};

// All numbers, in order: see streamer_stat_info.
inline std::vector<StatInfo> all_stats() {
  std::vector<StatInfo> all;
  for (std::size_t i = 0; i < streamer_stat_count(); ++i) {
    streamer_stat_info info = STREAMER_STAT_INFO_INIT;
    if (streamer_stat_get_info(i, &info, nullptr) == STREAMER_OK)
      all.push_back({info.name, info.meaning});
  }
  return all;
}

}  // namespace streamer
