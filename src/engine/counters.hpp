// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the threads of a load count while they work. Each writes only its own counters; the sum is
// made when stats are read.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "engine/stats.hpp"

namespace streamer::core::inline engine {

// What one thread counts, and what the others see of its state.
struct ReaderCounters : ReaderStats {
  std::atomic<std::uint64_t> connections{0};
  std::atomic<std::uint64_t> wall_ns{0};
  std::atomic<std::uint64_t> buffer_bytes{0};  // all that it ever held
  std::atomic<bool> uses_io_uring{false};
  // While the thread waits for a window: the number of window moves when it last looked, plus one.
  // 0: it is not waiting.
  std::atomic<std::uint64_t> waits_since{0};
};

// Of several threads. Outlives them; thread-safe, each thread writing only its own.
class LoadCounters {
 public:
  explicit LoadCounters(std::size_t threads)
      : counters_(std::make_unique<ReaderCounters[]>(threads)), threads_(threads) {}

  [[nodiscard]] ReaderCounters& operator[](std::size_t thread) const noexcept {
    return counters_[thread];
  }
  [[nodiscard]] std::size_t size() const noexcept { return threads_; }

  // Everything but storage_wait_ns, which is what is left of the time that is returned: how long
  // the threads have worked.
  std::uint64_t add_to(LoadStats& stats) const noexcept;

 private:
  const std::unique_ptr<ReaderCounters[]> counters_;
  const std::size_t threads_;
};

}  // namespace streamer::core::inline engine
