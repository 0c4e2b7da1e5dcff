// SPDX-License-Identifier: Apache-2.0
#pragma once
// How much a load uses: memory for tensors, memory for reading, readers, connections. Pure: what
// the settings leave open follows from the machine's description.

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "checkpoint/tensor_table.hpp"
#include "engine/load_settings.hpp"
#include "engine/machine.hpp"
#include "engine/plan.hpp"
#include "engine/tuner.hpp"

namespace streamer::core::inline engine {

// What the checkpoint's sources need memory for.
struct ReadingFrom {
  bool files = false;        // threads with their own buffers
  bool network = false;      // connections
  bool reads_block = false;  // some of those threads wait for one read at a time
  bool takes_turns = false;  // with other loads on the same threads: see ReaderPool
};

// What was chosen and why, for humans.
struct Decision {
  std::string name;  // "connections"
  std::string value;
  std::string reason;
};

// What the memory limit covers, and how host memory is used.
struct HostMemoryUse {
  bool limits_tensors_alone = false;  // buffers for reading come on top of the limit
  bool is_elastic = true;             // if the settings allow it: see ElasticWindow
};

struct LoadSizes {
  std::uint64_t limit_bytes = 0;   // what memory_limit comes to; 0: none
  std::uint64_t window_bytes = 0;  // of it, for tensors; 0: no limit
  // Of the host's memory, if it is elastic: see ElasticWindow. block_bytes 0: it is not.
  std::uint64_t block_bytes = 0;
  std::uint64_t ahead_bytes = 0;
  std::uint64_t device_window_bytes = 0;   // of each device; 0: no limit
  std::uint64_t reader_buffer_bytes = 0;   // of each reader of files
  std::uint64_t network_buffer_bytes = 0;  // of all connections together
  std::uint64_t chunk_bytes = 0;
  std::uint32_t file_readers = 0;     // if there are as many chunks
  std::uint32_t network_readers = 0;  // the same
  Tuner::Limits connections;
  std::vector<Decision> decisions;
};

// Fails with memory_limit if the largest tensor alone exceeds that limit, naming it. Buffers are
// within the limit as far as it leaves room beside the largest tensor, unless it covers tensors
// only, as "minimum" does.
Result<LoadSizes> size_load(const LoadSettings& settings, const ReadingList& list,
                            const TensorTable& tensors, ReadingFrom from, HostMemoryUse use,
                            const Machine& machine);

}  // namespace streamer::core::inline engine
