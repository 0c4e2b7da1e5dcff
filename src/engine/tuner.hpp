// SPDX-License-Identifier: Apache-2.0
#pragma once
// Finds the number of connections. Takes fourfold steps while they bring enough, goes back when
// they do not, continues with small ones, and backs off when the store asks for it. Pure: time and
// bytes are arguments.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>

#include "base/futex.hpp"

namespace streamer::core::inline engine {

class Tuner {
 public:
  struct Limits {
    std::uint32_t first = 8;
    std::uint32_t most = 256;
    bool is_fixed = false;  // stays at `first`, except when throttled
  };

  explicit Tuner(Limits limits) noexcept
      : limits_(limits), target_(std::clamp(limits.first, 1U, std::max(limits.most, 1U))) {}

  [[nodiscard]] std::uint32_t target() const noexcept { return target_; }

  // The store asked for fewer requests.
  void throttled(SteadyTime now) noexcept;

  // Called now and then with the total of bytes so far. first_byte: how long a request waits for
  // its first byte; is_busy: all connections of the target are in use. May change target().
  void observe(SteadyTime now, std::uint64_t bytes, std::chrono::nanoseconds first_byte,
               bool is_busy) noexcept;

 private:
  void begin_window(SteadyTime now, std::uint64_t bytes) noexcept;
  void judge(double rate, SteadyTime now) noexcept;

  const Limits limits_;
  std::uint32_t target_;
  std::uint32_t before_ = 0;  // the step's origin; 0: no step is being tried
  double rate_before_ = 0;    // bytes per second there
  double growth_ = 4;         // of the next step
  bool is_settling_ = true;   // new connections are still being made
  bool has_doubt_ = false;    // the last measurement spoke against the step
  std::optional<SteadyTime> window_began_;
  std::uint64_t bytes_then_ = 0;
  SteadyTime hold_until_{};
  SteadyTime last_throttle_{};
};

}  // namespace streamer::core::inline engine
