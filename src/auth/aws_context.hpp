// SPDX-License-Identifier: Apache-2.0
#pragma once
// What every source of AWS credentials works with. Tests put their own world in.

#include <optional>
#include <string>

#include "auth/auth_context.hpp"
#include "auth/aws_config.hpp"
#include "auth/aws_credentials.hpp"
#include "auth/credential_files.hpp"

namespace streamer::core {

struct AwsContext : AuthContext {
  std::string profile;  // set in code; empty: as the environment says
};

// A source's answer: nullopt says that it is not configured, why_not what is missing, in a few
// words. An error: it is configured and does not work, which ends the search. All of them block.
using AwsAnswer = Result<std::optional<AwsCredentials>>;

AwsAnswer credentials_from_environment(const AwsContext& context, std::string& why_not);
AwsAnswer credentials_from_web_identity(const AwsContext& context, std::string& why_not);
AwsAnswer credentials_from_profile(const AwsContext& context, std::string& why_not);
AwsAnswer credentials_from_container(const AwsContext& context, std::string& why_not);
AwsAnswer credentials_from_imds(const AwsContext& context, std::string& why_not);

// The first source that is configured: environment, web identity, profile, container, instance
// metadata. A profile that was set in code goes before the environment. permission_denied if none
// is, naming each and what it lacks.
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

Result<AwsCredentials> credentials_from_sso(const AwsContext& context, const AwsConfig& config,
                                            const std::string& profile);
Result<AwsCredentials> credentials_from_process(const std::string& command,
                                                std::chrono::milliseconds deadline);

// The region that the instance is in. Blocks for up to two seconds where there is no metadata
// service.
std::optional<std::string> region_from_imds(const AwsContext& context);

}  // namespace streamer::core
