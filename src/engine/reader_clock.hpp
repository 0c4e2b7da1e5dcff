// SPDX-License-Identifier: Apache-2.0
#pragma once
// The times that readers count.

#include <chrono>
#include <cstdint>
#include <ctime>

#include "engine/counters.hpp"

namespace streamer::core::inline engine {

[[nodiscard]] inline std::int64_t steady_now_ns() {
  return std::chrono::steady_clock::now().time_since_epoch().count();
}

// Of the calling thread.
[[nodiscard]] inline std::uint64_t thread_cpu_ns() {
  timespec used{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return static_cast<std::uint64_t>(used.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(used.tv_nsec);
}

// The times of one reader, from here on, on the thread that it reads on. That thread may have read
// for other loads before.
class ReaderClock {
 public:
  void count(ReaderCounters& mine) const noexcept {
    mine.reader_cpu_ns.store(thread_cpu_ns() - cpu_before_ns_, std::memory_order_relaxed);
    mine.wall_ns.store(static_cast<std::uint64_t>(steady_now_ns() - began_ns_),
                       std::memory_order_relaxed);
  }

 private:
  const std::int64_t began_ns_ = steady_now_ns();
  const std::uint64_t cpu_before_ns_ = thread_cpu_ns();
};

}  // namespace streamer::core::inline engine
