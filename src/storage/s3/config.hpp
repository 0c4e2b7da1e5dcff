// SPDX-License-Identifier: Apache-2.0
#pragma once
// The configuration of S3: settings, environment and profile combined, with the source of each
// value.

#include <memory>
#include <optional>
#include <string>

#include "auth/aws/context.hpp"
#include "auth/credential_cache.hpp"
#include "base/settings.hpp"
#include "storage/remote_config.hpp"
#include "storage/s3/endpoint.hpp"

namespace streamer::core::inline storage {

struct S3Config {
  S3EndpointRules endpoint;
  std::string endpoint_source;
  Sourced region;
  bool is_unsigned = false;
  std::string unsigned_source;
  bool uses_sessions = true;              // with directory buckets
  std::vector<HttpHeader> extra_headers;  // requester pays, expected owner, SSE-C
  std::string version_id;
  AwsContext auth;
  CredentialCache<AwsCredentials>::Fetch fetch_credentials;
};

// Reads the environment and the profile now. Fails on contradictory settings.
Result<S3Config> read_s3_config(const Settings& settings, const Environment& environment,
                                HttpClient& http);

}  // namespace streamer::core::inline storage
