// SPDX-License-Identifier: Apache-2.0
#pragma once
// The addresses of one host: connections are spread over them, and those that do not answer are
// avoided for a while.

#include <functional>
#include <string>
#include <vector>

#include "base/futex.hpp"
#include "base/guarded.hpp"
#include "http/retry.hpp"

namespace streamer::core::inline http {

// Addresses of a host as text, without ports; empty if it has none. Blocks until the look-up ends
// or the thread's current work is over.
using Resolver = std::function<std::vector<std::string>(const std::string& host)>;
[[nodiscard]] std::vector<std::string> resolve_host(const std::string& host);

// Thread-safe.
class HostAddresses {
 public:
  HostAddresses(std::string host, Resolver resolver)
      : host_(std::move(host)), resolver_(std::move(resolver)) {}

  // Adds a user to the address that has the fewest and is not avoided, or, if all are, to the one
  // that is avoided for the shortest time. Empty if the host has one address or none: libcurl then
  // looks it up. The first call, and one after each refresh_after_failures failures, looks up the
  // host and blocks.
  std::string borrow(SteadyTime now);
  // Ends a use. has_failed: it did not connect, or stalled.
  void give_back(const std::string& address, bool has_failed, SteadyTime now);

 private:
  struct Row {
    std::string address;
    std::uint32_t users = 0;
    std::uint32_t failures = 0;  // in a row
    SteadyTime left_alone_until{};
  };
  struct State {
    bool is_resolved = false;
    std::uint32_t failures_since = 0;
    std::vector<Row> rows;
  };

  void look_up(State& state) const;

  const std::string host_;
  const Resolver resolver_;
  Guarded<State> state_;
};

}  // namespace streamer::core::inline http
