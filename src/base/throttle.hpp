// SPDX-License-Identifier: Apache-2.0
#pragma once
// A cap on bytes per second, shared by the readers of a load, or of all loads of a process: each
// takes its bytes' share of time.

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "base/futex.hpp"

namespace streamer::core::inline base {

template <template <typename> class Atomic = std::atomic>
class BasicThrottle {
 public:
  // 0: no cap.
  explicit BasicThrottle(std::uint64_t bytes_per_s) noexcept : bytes_per_s_(bytes_per_s) {}

  // relaxed, all of them: the number is all that passes.
  [[nodiscard]] bool is_on() const noexcept {
    return bytes_per_s_.load(std::memory_order_relaxed) != 0;
  }
  // Of what is asked for from now on; 0: no cap.
  void set(std::uint64_t bytes_per_s) noexcept {
    bytes_per_s_.store(bytes_per_s, std::memory_order_relaxed);
  }

  // Any reader. When it may read `bytes`; unused time is not saved up.
  SteadyTime reserve(std::uint64_t bytes, SteadyTime now) noexcept {
    const std::uint64_t bytes_per_s = bytes_per_s_.load(std::memory_order_relaxed);
    if (bytes_per_s == 0) return now;
    const auto cost_ns = static_cast<std::int64_t>(static_cast<double>(bytes) * 1e9 /
                                                   static_cast<double>(bytes_per_s));
    const std::int64_t now_ns =
        std::chrono::duration_cast<std::chrono::nanoseconds>(now.time_since_epoch()).count();
    // relaxed: the number is all that passes between readers.
    std::int64_t free_at = free_at_ns_.load(std::memory_order_relaxed);
    std::int64_t start = 0;
    do {
      start = std::max(free_at, now_ns);
    } while (!free_at_ns_.compare_exchange_weak(free_at, start + cost_ns, std::memory_order_relaxed,
                                                std::memory_order_relaxed));
    return SteadyTime(std::chrono::nanoseconds(start));
  }

 private:
  Atomic<std::uint64_t> bytes_per_s_;
  alignas(64) Atomic<std::int64_t> free_at_ns_{0};
};

using Throttle = BasicThrottle<>;

}  // namespace streamer::core::inline base
