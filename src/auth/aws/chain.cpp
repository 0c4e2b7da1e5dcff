// SPDX-License-Identifier: Apache-2.0
// The order of the credential sources.
#include <fmt/format.h>

#include <array>

#include "auth/aws/context.hpp"
#include "base/log.hpp"
#include "base/operation.hpp"

namespace streamer::core::inline auth {

namespace {

struct AwsSource {
  std::string_view name;
  AwsAnswer (*fetch)(const AwsContext& context, std::string& why_not);
};

// As in botocore, on which the AWS CLI and boto3 are based; docs/credentials.md lists the
// differences.
constexpr std::array<AwsSource, 6> kAwsSources = {{
    {"environment", credentials_from_environment},
    {"role of the profile", credentials_from_profile_role},
    {"web identity", credentials_from_web_identity},
    {"profile", credentials_from_profile},
    {"container", credentials_from_container},
    {"instance metadata", credentials_from_imds},
}};

Result<AwsCredentials> search(const AwsContext& context) {
  std::string reasons;
  for (const AwsSource& source : kAwsSources) {
    // A profile set in code replaces the keys in the environment.
    if (!context.profile.empty() && source.fetch == credentials_from_environment) continue;
    std::string why_not;
    auto found = TRY(source.fetch(context, why_not));
    if (found) {
      log_line(LogLevel::info, fmt::format("credentials come from {}", found->source));
      return *std::move(found);
    }
    // A missing answer may be due to the operation's own end: then the next source must not be
    // asked.
    TRY(still_wanted("looking for credentials"));
    if (why_not.empty()) continue;
    reasons += fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", source.name, why_not);
  }
  return Error(ErrorKind::permission_denied,
               fmt::format("no credentials were found ({}); log in as for the aws command, set "
                           "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                           "s3_credentials=anonymous for a public bucket",
                           reasons));
}

}  // namespace

Result<AwsCredentials> find_aws_credentials(const AwsContext& context) {
  return keep_place(search(context));
}

}  // namespace streamer::core::inline auth
