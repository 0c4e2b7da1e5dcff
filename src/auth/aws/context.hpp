// SPDX-License-Identifier: Apache-2.0
#pragma once
// What every source of AWS credentials uses. Tests replace it.

#include <optional>
#include <string>

#include "auth/auth_context.hpp"
#include "auth/aws/config.hpp"
#include "auth/aws/credentials.hpp"
#include "auth/aws/partitions.hpp"
#include "auth/credential_files.hpp"

namespace streamer::core::inline auth {

struct AwsContext : AuthContext {
  std::string profile;  // set in code; empty: as the environment says
  std::string region;   // set in code, for STS; empty: as the environment and the profile say
};

// A source's answer. nullopt: it is not configured; why_not says what is missing, in a few words,
// or nothing if that is usual. An error: it is configured but does not work, which ends the search.
// All sources block.
using AwsAnswer = Result<std::optional<AwsCredentials>>;

AwsAnswer credentials_from_environment(const AwsContext& context, std::string& why_not);
// The profile's role_arn, assumed with the credentials of its source_profile or credential_source.
AwsAnswer credentials_from_profile_role(const AwsContext& context, std::string& why_not);
// The token of AWS_WEB_IDENTITY_TOKEN_FILE or of the profile's web_identity_token_file.
AwsAnswer credentials_from_web_identity(const AwsContext& context, std::string& why_not);
// The profile's other credentials: SSO, keys of the credentials file, credential_process, keys of
// the config file.
AwsAnswer credentials_from_profile(const AwsContext& context, std::string& why_not);
AwsAnswer credentials_from_container(const AwsContext& context, std::string& why_not);
AwsAnswer credentials_from_imds(const AwsContext& context, std::string& why_not);

// The first source that is configured: environment, role of the profile, web identity, profile,
// container, instance metadata. With a profile that was set in code the environment is not asked.
// permission_denied if none is, naming each and what it lacks.
Result<AwsCredentials> find_aws_credentials(const AwsContext& context);

// ---- What the sources share ----

// The credentials of an answer of JSON, by the names of its members; `object` is the member that
// holds them, empty for the top. An answer that says Code other than Success is an error.
struct JsonCredentialNames {
  std::string_view object;
  std::string_view id;
  std::string_view secret;
  std::string_view token;
  std::string_view expiration;    // ISO 8601, or milliseconds since 1970
  std::string_view version = "";  // a member that must be 1; empty: none
};
Result<AwsCredentials> read_json_credentials(std::string_view text,
                                             const JsonCredentialNames& names,
                                             std::string_view source);

// The endpoint of a service: configured by AWS_ENDPOINT_URL and related variables, or else AWS'
// own, in the region's partition and in the variant (FIPS, dual-stack) that environment and profile
// ask for. Without a region: us-east-1, at the global endpoint of STS.
enum class AwsService : std::uint8_t { sts, sso, sso_oidc };
struct AwsEndpoint {
  Endpoint endpoint;
  std::string region;  // to sign for
};
Result<AwsEndpoint> aws_endpoint(const AwsContext& context, const AwsConfig& config,
                                 AwsService service, const std::string& region);
// AWS_USE_FIPS_ENDPOINT, AWS_USE_DUALSTACK_ENDPOINT, else the profile's keys of these names.
[[nodiscard]] AwsVariant aws_variant(const Environment& environment, const AwsConfig& config);
// AWS_IGNORE_CONFIGURED_ENDPOINT_URLS, else the profile's ignore_configured_endpoint_urls.
[[nodiscard]] bool ignores_aws_endpoint_urls(const Environment& environment,
                                             const AwsConfig& config);

// Roles, through the Security Token Service.
struct AssumedRole {
  std::string arn;
  std::string session_name;  // empty: one of ours
  std::string external_id;   // empty: none
  std::uint64_t duration_s = 3600;
};
Result<AwsCredentials> assume_role(const AwsContext& context, const AssumedRole& role,
                                   const AwsCredentials& base);
Result<AwsCredentials> assume_role_with_web_identity(const AwsContext& context,
                                                     const AssumedRole& role,
                                                     const std::string& token_file);

// nullopt: the profile says nothing of web identity, or of SSO. The variables of web identity count
// before the profile's keys, unless only the profile is meant.
AwsAnswer web_identity_of_profile(const AwsContext& context, const AwsConfig& config,
                                  const std::string& profile, bool only_profile);
AwsAnswer credentials_from_sso(const AwsContext& context, const AwsConfig& config,
                               const std::string& profile);
Result<AwsCredentials> credentials_from_process(const std::string& command,
                                                std::chrono::milliseconds deadline);

// The region that the instance is in. Blocks for up to two seconds where there is no metadata
// service.
std::optional<std::string> region_from_imds(const AwsContext& context);

}  // namespace streamer::core::inline auth
