// SPDX-License-Identifier: Apache-2.0
#pragma once
// The times that readers count.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>

#include "base/thread.hpp"
#include "base/unique_fd.hpp"
#include "engine/counters.hpp"

namespace streamer::core::inline engine {

[[nodiscard]] inline std::int64_t steady_now_ns() {
  return std::chrono::steady_clock::now().time_since_epoch().count();
}

// How long the thread that made it has been ready to run while other work had the processors: the
// second number of its schedstat (proc(5)). Always 0 where the kernel does not say.
class RunQueueClock {
 public:
  [[nodiscard]] std::uint64_t ns() const noexcept {
    char text[64];
    const ssize_t size = fd_ ? ::pread(fd_.get(), text, sizeof text, 0) : 0;
    const char* const end = text + std::max<ssize_t>(size, 0);
    const char* const space = std::find(static_cast<const char*>(text), end, ' ');
    std::uint64_t waited = 0;
    if (space != end) std::from_chars(space + 1, end, waited);
    return waited;
  }

 private:
  const UniqueFd fd_{::open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC)};
};

// The times of one reader, from here on, on the thread that it reads on. That thread may have read
// for other loads before.
class ReaderClock {
 public:
  void count(ReaderCounters& mine) const noexcept {
    mine.reader_cpu_ns.store(thread_cpu_ns() - cpu_before_ns_, std::memory_order_relaxed);
    mine.cpu_wait_ns.store(run_queue_.ns() - queued_before_ns_, std::memory_order_relaxed);
    mine.wall_ns.store(static_cast<std::uint64_t>(steady_now_ns() - began_ns_),
                       std::memory_order_relaxed);
  }

 private:
  const std::int64_t began_ns_ = steady_now_ns();
  const std::uint64_t cpu_before_ns_ = thread_cpu_ns();
  const RunQueueClock run_queue_{};
  const std::uint64_t queued_before_ns_ = run_queue_.ns();
};

}  // namespace streamer::core::inline engine
