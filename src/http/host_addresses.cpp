// SPDX-License-Identifier: Apache-2.0
#include "http/host_addresses.hpp"

#include <arpa/inet.h>
#include <netdb.h>

#include <algorithm>
#include <array>

#include "base/apart.hpp"

namespace streamer::core::inline http {

namespace {

// A dead address costs a connect timeout each time it is tried again.
constexpr Milliseconds kLeftAloneFirst{5'000};
constexpr Milliseconds kLeftAloneLongest{300'000};
// After this many failures the name may have moved to other machines.
constexpr std::uint32_t kFailuresBeforeRefresh = 4;

}  // namespace

namespace {

std::vector<std::string> look_up_host(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  // Every name below localhost is this machine (RFC 6761 6.3), as libcurl has it too.
  const bool is_local = host.ends_with(".localhost");
  const std::string asked = is_local ? "localhost" : host;
  if (::getaddrinfo(asked.c_str(), nullptr, &hints, &found) != 0) return {};
  std::vector<std::string> addresses;
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    std::array<char, NI_MAXHOST> text{};
    const int failure = ::getnameinfo(entry->ai_addr, entry->ai_addrlen, text.data(), text.size(),
                                      nullptr, 0, NI_NUMERICHOST);
    if (failure == 0 &&
        std::find(addresses.begin(), addresses.end(), text.data()) == addresses.end())
      addresses.emplace_back(text.data());
  }
  ::freeaddrinfo(found);
  return addresses;
}

}  // namespace

std::vector<std::string> resolve_host(const std::string& host) {
  const auto look_up = [host] { return look_up_host(host); };
  auto found = call_apart<std::vector<std::string>>(look_up, "looking up " + host);
  return found ? *std::move(found) : std::vector<std::string>();
}

void HostAddresses::look_up(State& state) const {
  state.is_resolved = true;
  state.failures_since = 0;
  std::vector<std::string> found = resolver_(host_);
  if (found.empty()) return;  // the known addresses are better than none
  std::vector<Row> rows;
  for (std::string& address : found) {
    // A known address keeps its users and failures.
    const auto known = std::find_if(state.rows.begin(), state.rows.end(),
                                    [&](const Row& row) { return row.address == address; });
    if (known != state.rows.end()) {
      rows.push_back(std::move(*known));
    } else {
      Row& row = rows.emplace_back();
      row.address = std::move(address);
    }
  }
  state.rows = std::move(rows);
}

std::string HostAddresses::borrow(SteadyTime now) {
  return state_.with([&](State& state) -> std::string {
    if (!state.is_resolved || state.failures_since >= kFailuresBeforeRefresh) look_up(state);
    if (state.rows.size() < 2) return {};
    const auto best =
        std::min_element(state.rows.begin(), state.rows.end(), [&](const Row& a, const Row& b) {
          const bool a_is_out = a.left_alone_until > now;
          const bool b_is_out = b.left_alone_until > now;
          if (a_is_out != b_is_out) return b_is_out;
          if (a_is_out) return a.left_alone_until < b.left_alone_until;
          return a.users < b.users;
        });
    ++best->users;
    return best->address;
  });
}

void HostAddresses::give_back(const std::string& address, bool has_failed, SteadyTime now) {
  state_.with([&](State& state) {
    if (has_failed) ++state.failures_since;
    for (Row& row : state.rows) {
      if (row.address != address) continue;
      if (row.users != 0) --row.users;
      if (!has_failed) {
        row.failures = 0;
      } else {
        const auto alone = kLeftAloneFirst * (1 << std::min(row.failures++, 6U));
        row.left_alone_until = now + std::min<Milliseconds>(alone, kLeftAloneLongest);
      }
    }
  });
}

}  // namespace streamer::core::inline http
