// SPDX-License-Identifier: Apache-2.0
#include "engine/machine.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <thread>

#include "engine/direct_reads.hpp"
#include "memory/host_memory.hpp"

namespace streamer::core {

Machine Machine::read() {
  Machine machine;
  machine.free_memory_bytes = available_host_memory();
  machine.cores = std::max(std::thread::hardware_concurrency(), 1U);
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) machine.file_descriptors = limit.rlim_cur;
  machine.has_io_uring = probe_io_uring() == 0;
  return machine;
}

}  // namespace streamer::core
