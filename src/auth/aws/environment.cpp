// SPDX-License-Identifier: Apache-2.0
// AWS_ACCESS_KEY_ID and related variables.
#include "auth/aws/context.hpp"

namespace streamer::core::inline auth {

AwsAnswer credentials_from_environment(const AwsContext& context, std::string& why_not) {
  const auto id = context.environment("AWS_ACCESS_KEY_ID");
  const auto secret = context.environment("AWS_SECRET_ACCESS_KEY");
  if (!id) {
    why_not = secret ? "AWS_SECRET_ACCESS_KEY is set but AWS_ACCESS_KEY_ID is not"
                     : "AWS_ACCESS_KEY_ID is not set";
    return std::optional<AwsCredentials>();
  }
  if (!secret) {
    return Error(ErrorKind::invalid_argument,
                 "AWS_ACCESS_KEY_ID is set but AWS_SECRET_ACCESS_KEY is not; set both or neither");
  }
  // The older name goes first, as in the AWS CLI.
  auto token = context.environment("AWS_SECURITY_TOKEN");
  if (!token) token = context.environment("AWS_SESSION_TOKEN");
  AwsCredentials credentials{.access_key_id = *id,
                             .secret_access_key = Secret(*secret),
                             .session_token = Secret(token.value_or("")),
                             .expires = {},
                             .source = "the environment (AWS_ACCESS_KEY_ID)"};
  if (const auto expiration = context.environment("AWS_CREDENTIAL_EXPIRATION")) {
    credentials.expires = parse_iso(*expiration);
    if (!credentials.expires) {
      return Error(ErrorKind::invalid_argument,
                   "AWS_CREDENTIAL_EXPIRATION is not a time such as 2030-01-02T03:04:05Z");
    }
  }
  TRY(check_credentials(credentials));
  return std::optional(std::move(credentials));
}

}  // namespace streamer::core::inline auth
