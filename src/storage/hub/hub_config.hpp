// SPDX-License-Identifier: Apache-2.0
#pragma once
// The configuration of a hub: settings first, then the variables and files of the hub's own client.

#include <string>

#include "auth/auth_context.hpp"
#include "base/settings.hpp"
#include "storage/remote_config.hpp"

namespace streamer::core::inline storage {

struct HubConfig {
  Endpoint endpoint;
  std::string endpoint_source;
  Secret token;  // empty: none
  std::string token_source;
  bool is_offline = false;
  std::string offline_source;
  Sourced cache;  // a folder; empty: none
  AuthContext auth;

  // Whether the token may be sent to the endpoint.
  [[nodiscard]] bool sends_token() const noexcept {
    return !is_offline && !token.empty() && keeps_secrets(endpoint);
  }
};

Result<HubConfig> read_hub_config(const Settings& settings, const Environment& environment);

}  // namespace streamer::core::inline storage
