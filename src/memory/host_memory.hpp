// SPDX-License-Identifier: Apache-2.0
#pragma once
// How much host memory is free.

#include <cstdint>
#include <string>

namespace streamer::core::inline memory {

// How much can be allocated before the machine, a control group of this process or a limit of its
// own (ulimit -v, ulimit -d) runs out: the least of MemAvailable, of what those limits leave and,
// for each group from this process's to the root, of its limit minus what it uses beyond
// reclaimable page cache. Supports groups of version 2 (memory.max, memory.high) and 1. UINT64_MAX
// if nothing can be read. root is prefixed to every path, for tests.
[[nodiscard]] std::uint64_t available_host_memory(const std::string& root = "");

}  // namespace streamer::core::inline memory
