// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a load needs to know of its machine, asked once, so that everything derived from it is pure.

#include <cstdint>

namespace streamer::core::inline engine {

struct Machine {
  std::uint64_t free_memory_bytes = UINT64_MAX;  // UINT64_MAX: the system does not say
  std::uint32_t cores = 1;
  std::uint64_t file_descriptors = UINT64_MAX;  // that this process may have; UINT64_MAX: any
  bool has_io_uring = false;
  // Of this process: see ProcessShare.
  std::uint64_t held_by_loads_bytes = 0;   // which are not free
  std::uint64_t process_memory_bytes = 0;  // that its loads may hold together; 0: nobody said
  std::uint64_t process_bytes_per_s = 0;   // that they may read together; 0: any

  static Machine read();
};

}  // namespace streamer::core::inline engine
