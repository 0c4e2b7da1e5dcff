// SPDX-License-Identifier: Apache-2.0
#include "engine/machine.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <thread>

#include "engine/direct_reads.hpp"
#include "engine/process_share.hpp"
#include "memory/host_memory.hpp"

namespace streamer::core::inline engine {

Machine Machine::read() {
  Machine machine;
  machine.free_memory_bytes = available_host_memory();
  machine.cores = std::max(std::thread::hardware_concurrency(), 1U);
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) machine.file_descriptors = limit.rlim_cur;
  machine.has_io_uring = probe_io_uring() == 0;
  const ProcessShare& process = ProcessShare::mine();
  machine.held_by_loads_bytes = process.use().memory_bytes;
  machine.process_memory_bytes = process.limits().memory_bytes;
  machine.process_bytes_per_s = process.limits().bandwidth_bytes_per_s;
  return machine;
}

}  // namespace streamer::core::inline engine
