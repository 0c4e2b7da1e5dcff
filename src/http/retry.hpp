// SPDX-License-Identifier: Apache-2.0
#pragma once
// Decides whether and when to try again. Pure: time and chance are arguments.

#include <chrono>
#include <cstdint>
#include <optional>

#include "base/timestamp.hpp"
#include "http/response.hpp"

namespace streamer::core::inline http {

using Milliseconds = std::chrono::milliseconds;

// What a failed attempt calls for.
enum class Again : std::uint8_t {
  never,
  at_once,    // something was corrected that the next attempt uses
  soon,       // a temporary fault: back off from 50 ms
  throttled,  // the store asked for fewer requests: back off from 1 s
};

struct RetryPolicy {
  std::uint32_t attempts = 10;  // without progress between them
  Milliseconds soon_base{50};
  Milliseconds throttled_base{1000};
  Milliseconds cap{20'000};
  Milliseconds longest_retry_after{60'000};

  // A store that throttles works, and is asked twice as often, unless once is wanted: of 10,000
  // replicas that start at once, half gave up before their turn came (tests/scale).
  [[nodiscard]] std::uint32_t most_attempts(Again again) const noexcept {
    return again == Again::throttled && attempts > 1 ? 2 * attempts : attempts;
  }
};

// How long to wait before the next attempt: chance * min(base * 2^(failures - 1), cap), "full
// jitter", or what the store asked for if that is longer. failures from 1; chance in [0, 1).
[[nodiscard]] Milliseconds retry_delay(const RetryPolicy& policy, Again again,
                                       std::uint32_t failures,
                                       std::optional<Milliseconds> retry_after,
                                       double chance) noexcept;

// What to do after a fault of the transfer.
[[nodiscard]] Again again_after(TransferFault fault) noexcept;
// What to do after a status alone: 429 and 503 throttle; 408, 500, 502 and 504 are temporary.
[[nodiscard]] Again again_after_status(int status) noexcept;

// Retry-After in seconds or as a date, and its variants in milliseconds: retry-after-ms,
// x-ms-retry-after-ms, x-amz-retry-after.
[[nodiscard]] std::optional<Milliseconds> retry_after(const ResponseHead& head,
                                                      SystemTime now) noexcept;

// Limits the retries against a store that is down: each retry takes tokens, success returns them.
// Used by one thread.
class RetryBudget {
 public:
  // Sized so that every connection may fail ten times in a row: an outage of a few seconds is then
  // waited out, however many connections there are.
  explicit RetryBudget(std::uint32_t connections) noexcept
      : most_(connections * 100 > 1000 ? connections * 100 : 1000), tokens_(most_) {}

  // False once it is used up.
  bool take(Again again) noexcept {
    const std::uint32_t cost = again == Again::throttled ? 5 : again == Again::soon ? 10 : 0;
    if (tokens_ < cost) return false;
    tokens_ -= cost;
    return true;
  }
  void succeeded() noexcept { tokens_ = tokens_ + 10 < most_ ? tokens_ + 10 : most_; }

 private:
  std::uint32_t most_;
  std::uint32_t tokens_;
};

}  // namespace streamer::core::inline http
