// SPDX-License-Identifier: Apache-2.0
#pragma once
// AWS keys: a value that may expire, and where it comes from.

#include <optional>
#include <string>

#include "base/result.hpp"
#include "base/secret.hpp"
#include "base/timestamp.hpp"

namespace streamer::core::inline auth {

struct AwsCredentials {
  std::string access_key_id;
  Secret secret_access_key;
  Secret session_token;  // empty: permanent keys
  std::optional<SystemTime> expires;
  std::string source;  // "environment", "profile \"prod\"": for people

  // Whether a request signed with one would be signed the same with the other.
  [[nodiscard]] bool same_keys(const AwsCredentials& other) const noexcept {
    return access_key_id == other.access_key_id && secret_access_key == other.secret_access_key &&
           session_token == other.session_token;
  }
};

// Fails if a key or token could not stand in a header.
Result<void> check_credentials(const AwsCredentials& credentials);

// "from SOURCE, access key id ends in 4 CHARACTERS, until TIME".
[[nodiscard]] std::string describe(const AwsCredentials& credentials);

}  // namespace streamer::core::inline auth
