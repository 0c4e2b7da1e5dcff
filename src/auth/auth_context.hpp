// SPDX-License-Identifier: Apache-2.0
#pragma once
// What every credential source uses, for any cloud. Tests replace it.

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/environment.hpp"
#include "base/operation.hpp"
#include "base/secret.hpp"
#include "base/timestamp.hpp"
#include "http/host_addresses.hpp"
#include "http/http_client.hpp"

namespace streamer::core::inline auth {

struct AuthContext {
  Environment environment = process_environment();
  HttpClient* http = nullptr;
  std::function<SystemTime()> now = [] { return std::chrono::system_clock::now(); };
  // Ends early once the thread's current work is over; the next request then fails.
  std::function<void(Milliseconds)> pause = [](Milliseconds time) {
    static_cast<void>(pause_for(time, "waiting"));
  };
  Resolver resolver = resolve_host;
  TlsFiles tls;

  // The route to an endpoint on the network: certificates, and the proxy that the environment sets.
  [[nodiscard]] std::shared_ptr<const HttpRoute> route_to(const Endpoint& endpoint) const;
  // The route to services of this machine and its neighbours, which must not go through a proxy.
  [[nodiscard]] std::shared_ptr<const HttpRoute> route_past_proxies() const;
  // For requests with a token in them to where keeps_secrets() is true: what is not encrypted stays
  // on this machine.
  [[nodiscard]] std::shared_ptr<const HttpRoute> route_for_secrets(const Endpoint& endpoint) const {
    return endpoint.is_tls() ? route_to(endpoint) : route_past_proxies();
  }
};

// "1", "true", "yes" and "on", in any case.
[[nodiscard]] bool is_true(std::string_view text) noexcept;

// GET, PUT or POST of something small, tried up to `attempts` times after temporary faults and
// statuses 429 and 5xx. Returns the last answer, whatever its status.
Result<HttpAnswer> ask(const AuthContext& context, const HttpRequest& request,
                       TransferOptions options, std::uint32_t attempts);

// Texts and whole numbers of one JSON object, by name. `object` is the member that contains them,
// empty for the top level. Everything else is skipped.
using FlatJson = std::map<std::string, std::string, std::less<>>;
Result<FlatJson> read_flat_json(std::string_view text, std::string_view object = "");
// The member of that name; empty if there is none.
[[nodiscard]] std::string text_of(const FlatJson& members, std::string_view name);

}  // namespace streamer::core::inline auth
