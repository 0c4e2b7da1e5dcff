// SPDX-License-Identifier: Apache-2.0
#pragma once
// Credentials as the original's functions take them.

#include <fmt/format.h>

#include <string>

#include "base/settings.hpp"
#include "base/text.hpp"
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
  // Without the line break that a mounted file leaves.
  const std::string_view id = core::trim(given.access_key_id);
  const std::string_view secret = core::trim(given.secret_access_key);
  const std::string_view token = core::trim(given.session_token);
  if (id.empty() != secret.empty()) {
    return core::Error(core::ErrorKind::invalid_argument,
                       id.empty() ? "secret_access_key was given without access_key_id: give both"
                                  : "access_key_id was given without secret_access_key: give both");
  }
  if (!id.empty()) {
    const std::string keys =
        fmt::format("{}:{}:{}", token.empty() ? "keys" : "session", core::as_credentials_part(id),
                    core::as_credentials_part(secret));
    TRY(settings.set(core::setting::kS3Credentials,
                     token.empty() ? keys : fmt::format("{}:{}", keys, token)));
  }
  if (!given.region.empty()) TRY(settings.set(core::setting::kS3Region, given.region));
  if (!given.endpoint.empty()) TRY(settings.set(core::setting::kS3Endpoint, given.endpoint));
  return {};
}

}  // namespace streamer::capi
