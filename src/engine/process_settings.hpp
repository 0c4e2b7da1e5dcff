// SPDX-License-Identifier: Apache-2.0
#pragma once
// Settings of what the loads of a process share.

#include "base/bytes.hpp"
#include "base/settings.hpp"
#include "engine/process_share.hpp"

namespace streamer::core::setting {

inline constexpr Setting kProcessConnections{
    RowOf<Scope::process>{
        .name = "process_connections",
        .meaning = "How many connections all loads of the process use together, in equal parts. "
                   "auto is as many as one load may use."},
    Count("auto", 1, 65536)};

inline constexpr Setting kProcessMaxBandwidth{
    RowOf<Scope::process>{
        .name = "process_max_bandwidth",
        .default_text = "unlimited",
        .meaning = "A cap on what all loads of the process read per second together, in addition "
                   "to the max_bandwidth of each."},
    Bytes("unlimited", {.lowest = 64 * kKiB}, "bytes per second")};

inline constexpr Setting kProcessMemoryLimit{
    RowOf<Scope::process>{
        .name = "process_memory_limit",
        .meaning = "How much host memory the loads of the process with memory_limit=auto hold "
                   "together. auto is 80 % of what the machine, its control group and the "
                   "process's own limits (ulimit -v) leave free plus what loads already hold, when "
                   "the latest of them starts. Every load can "
                   "always hold 8 MiB, or its largest tensor. Loads with their own limit count, "
                   "but are not bounded by it."},
    Bytes("auto", {.lowest = 1})};

}  // namespace streamer::core::setting

namespace streamer::core::inline engine {

inline constexpr const SettingRow* kProcessSettings[] = {
    &setting::kProcessConnections, &setting::kProcessMaxBandwidth, &setting::kProcessMemoryLimit};

inline Result<ProcessLimits> read_process_limits(const Settings& settings) {
  const auto read = TRY(settings.read<Scope::process>(kProcessSettings));
  return ProcessLimits{.memory_bytes = read.get(setting::kProcessMemoryLimit),
                       .bandwidth_bytes_per_s = read.get(setting::kProcessMaxBandwidth),
                       .connections = read.get(setting::kProcessConnections)};
}

}  // namespace streamer::core::inline engine
