// SPDX-License-Identifier: Apache-2.0
#pragma once
// How many bytes one range request asks for. Pure.

#include <algorithm>
#include <cstdint>

#include "base/bytes.hpp"

namespace streamer::core::inline engine {

struct RequestNeed {
  double unclaimed_bytes = 0;  // of the load
  double asked_bytes = 0;      // of the load, by all requests so far
  std::uint32_t connections = 1;
  double claimed_bytes = 0;  // by the reader that asks, and not received
  std::uint32_t own_connections = 1;
  double first_byte_s = 0;  // 0, as rate: not measured yet
  double bytes_per_s = 0;   // of one connection
  double window_bytes = 0;  // the smallest there is; 0: none
};

// A request lasts at least so many times as long as the wait for its first byte.
inline constexpr double kTimesFirstByte = 10;
inline constexpr std::uint64_t kLargestRequestBytes = 64 * kMiB;
inline constexpr std::uint64_t kFirstRequestBytes = 8 * kMiB;

[[nodiscard]] inline double request_bytes(const RequestNeed& need) noexcept {
  // What each connection would have to bring for all to end at the same time.
  const double share =
      need.unclaimed_bytes / need.connections + need.claimed_bytes / need.own_connections;
  // Short ones at first bring the first tensors soon. Each is a little longer than the one before
  // it: if all ended at once, the rate would dip, and the tuner take it for the number of
  // connections.
  const double at_first =
      static_cast<double>(kFirstRequestBytes) + need.asked_bytes / need.connections;
  // Long requests, so that waiting for first bytes costs little: if one is too long in the end, a
  // part is split off for an idle connection.
  double bytes =
      std::max(std::min(share, at_first), kTimesFirstByte * need.first_byte_s * need.bytes_per_s);
  bytes = std::min(bytes, static_cast<double>(kLargestRequestBytes));
  // The window moves only when its first bytes have arrived: requests must not fill all of it.
  if (need.window_bytes > 0) bytes = std::min(bytes, need.window_bytes / (4.0 * need.connections));
  return bytes;
}

}  // namespace streamer::core::inline engine
