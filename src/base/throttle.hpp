// SPDX-License-Identifier: Apache-2.0
#pragma once
// A cap on bytes per second, shared by the readers of a load: each takes its bytes' share of time.

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "base/futex.hpp"

namespace streamer::core {

template <template <typename> class Atomic = std::atomic>
class BasicThrottle {
 public:
  // 0: no cap.
  explicit BasicThrottle(std::uint64_t bytes_per_s) noexcept : bytes_per_s_(bytes_per_s) {}

  [[nodiscard]] bool is_on() const noexcept { return bytes_per_s_ != 0; }

  // Any reader. When it may read `bytes`; unused time is not saved up.
  SteadyTime reserve(std::uint64_t bytes, SteadyTime now) noexcept {
    const auto cost_ns = static_cast<std::int64_t>(static_cast<double>(bytes) * 1e9 /
                                                   static_cast<double>(bytes_per_s_));
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
  const std::uint64_t bytes_per_s_;
  alignas(64) Atomic<std::int64_t> free_at_ns_{0};
};

using Throttle = BasicThrottle<>;

}  // namespace streamer::core
