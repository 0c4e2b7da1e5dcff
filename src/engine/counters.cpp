// SPDX-License-Identifier: Apache-2.0
#include "engine/counters.hpp"

namespace streamer::core::inline engine {

std::uint64_t LoadCounters::add_to(LoadStats& stats) const noexcept {
  const auto read = [](const auto& counter) { return counter.load(std::memory_order_relaxed); };
  std::uint64_t wall_ns = 0;
  for (std::size_t i = 0; i < threads_; ++i) {
    const ReaderCounters& counters = counters_[i];
    add_reader(stats, counters);
    stats.buffer_bytes += read(counters.buffer_bytes);
    stats.uses_io_uring |= read(counters.uses_io_uring) ? 1U : 0U;
    wall_ns += read(counters.wall_ns);
  }
  return wall_ns;
}

}  // namespace streamer::core::inline engine
