// SPDX-License-Identifier: Apache-2.0
#pragma once
// The times that readers count.

#include <chrono>
#include <cstdint>
#include <ctime>

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

}  // namespace streamer::core::inline engine
