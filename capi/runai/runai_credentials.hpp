// SPDX-License-Identifier: Apache-2.0
#pragma once
// Credentials as the original's functions take them.

#include <fmt/format.h>

#include <string>

#include "base/settings.hpp"
#include "storage/s3/s3_settings.hpp"

namespace streamer::capi {

// Empty: not given.
struct RunaiCredentials {
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;
  std::string region;
  std::string endpoint;

  friend bool operator==(const RunaiCredentials&, const RunaiCredentials&) = default;
};

// Fails if there is half a key.
inline core::Result<void> put(const RunaiCredentials& given, core::Settings& settings) {
  if (!given.access_key_id.empty() || !given.secret_access_key.empty()) {
    const std::string keys =
        fmt::format("{}:{}:{}", given.session_token.empty() ? "keys" : "session",
                    given.access_key_id, given.secret_access_key);
    TRY(settings.set(core::setting::kS3Credentials,
                     given.session_token.empty() ? keys : keys + ":" + given.session_token));
  }
  if (!given.region.empty()) TRY(settings.set(core::setting::kS3Region, given.region));
  if (!given.endpoint.empty()) TRY(settings.set(core::setting::kS3Endpoint, given.endpoint));
  return {};
}

}  // namespace streamer::capi
