// SPDX-License-Identifier: Apache-2.0
#include "engine/tuner.hpp"

#include <cmath>
#include <utility>

namespace streamer::core::inline engine {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kShortestWindow{100};
constexpr milliseconds kLongestWindow{500};
// A step is kept if it brings this share of what the added connections would bring at best
// (azcopy's rule).
constexpr double kWorthwhile = 0.2;
constexpr double kNearlyAll = 0.6;
constexpr double kSmallStep = 1.25;
// How long a number of connections stays once no number near it was better.
constexpr milliseconds kHold{5000};
// Throttled answers to requests that were already in flight count as one.
constexpr milliseconds kOneThrottle{1000};
constexpr double kThrottledShare = 0.7;

}  // namespace

void Tuner::throttled(SteadyTime now) noexcept {
  if (now - last_throttle_ < kOneThrottle) return;
  last_throttle_ = now;
  // The limit is near: from here on only small steps, after a pause.
  target_ = std::max(1U, static_cast<std::uint32_t>(target_ * kThrottledShare));
  before_ = 0;
  has_doubt_ = false;
  growth_ = kSmallStep;
  hold_until_ = now + kOneThrottle;
  window_began_.reset();
}

void Tuner::begin_window(SteadyTime now, std::uint64_t bytes) noexcept {
  window_began_ = now;
  bytes_then_ = bytes;
}

void Tuner::observe(SteadyTime now, std::uint64_t bytes, std::chrono::nanoseconds first_byte,
                    bool is_busy) noexcept {
  if (now < hold_until_) return;
  // A fixed number, too, is reduced when the store throttles, and then restored one by one.
  const bool recovers = limits_.is_fixed && target_ < limits_.first;
  if (limits_.is_fixed && !recovers) return;
  // With idle connections the rate says nothing about their number.
  if (!window_began_ || !is_busy) return begin_window(now, bytes);
  const auto window =
      std::clamp<std::chrono::nanoseconds>(2 * first_byte, kShortestWindow, kLongestWindow);
  if (now - *window_began_ < window) return;
  if (recovers) {
    ++target_;
    return begin_window(now, bytes);
  }
  const double seconds = std::chrono::duration<double>(now - *window_began_).count();
  const double rate = static_cast<double>(bytes - bytes_then_) / seconds;
  begin_window(now, bytes);
  // In the first window after a step connections are still being made: it is not judged.
  if (std::exchange(is_settling_, false)) return;
  judge(rate, now);
}

void Tuner::judge(double rate, SteadyTime now) noexcept {
  const auto step_up = [&] {
    const auto larger = static_cast<std::uint32_t>(std::ceil(target_ * growth_));
    const std::uint32_t next = std::min(larger, limits_.most);
    if (next <= target_) {
      hold_until_ = now + kHold;
      before_ = 0;
      return;
    }
    before_ = target_;
    rate_before_ = rate;
    target_ = next;
    is_settling_ = true;
  };
  if (before_ == 0) return step_up();
  const double at_best = static_cast<double>(target_) / before_ - 1;
  const double gained = rate_before_ > 0 ? rate / rate_before_ - 1 : at_best;
  if (gained >= kWorthwhile * at_best) {
    has_doubt_ = false;
    // Most of the bandwidth is in use: the best number is less than another large step away.
    if (gained < kNearlyAll * at_best) growth_ = kSmallStep;
    return step_up();
  }
  // One bad window may be due to the machine or to other traffic; two are due to the step.
  if (!std::exchange(has_doubt_, true)) return;
  has_doubt_ = false;
  // The step was not worth it: go back, try a smaller one, and then rest.
  target_ = before_;
  before_ = 0;
  if (growth_ > kSmallStep) {
    growth_ = kSmallStep;
    is_settling_ = true;
  } else {
    hold_until_ = now + kHold;
    window_began_.reset();
  }
}

}  // namespace streamer::core::inline engine
