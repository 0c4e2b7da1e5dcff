// SPDX-License-Identifier: Apache-2.0
#pragma once
// How much host memory a load may take without asking.

#include <cstdint>
#include <string>

namespace streamer::core {

// What can still be allocated before the machine or a control group of this process runs out: the
// least of MemAvailable and, for each group from ours to the root, its limit less what it uses
// beyond reclaimable page cache. Groups of version 2 (memory.max, memory.high) and 1 are
// understood. UINT64_MAX where nothing can be read. root stands before every path, for tests.
[[nodiscard]] std::uint64_t available_host_memory(const std::string& root = "");

}  // namespace streamer::core
