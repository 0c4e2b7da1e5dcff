// SPDX-License-Identifier: Apache-2.0
// The order in which sources of credentials are asked.
#include <fmt/format.h>

#include <array>

#include "auth/aws_context.hpp"
#include "base/log.hpp"

namespace streamer::core {

namespace {

struct AwsSource {
  std::string_view name;
  AwsAnswer (*fetch)(const AwsContext& context, std::string& why_not);
};

constexpr AwsSource kProfile = {"profile", credentials_from_profile};
constexpr std::array<AwsSource, 5> kAwsSources = {{
    {"environment", credentials_from_environment},
    {"web identity", credentials_from_web_identity},
    kProfile,
    {"container", credentials_from_container},
    {"instance metadata", credentials_from_imds},
}};

}  // namespace

Result<AwsCredentials> find_aws_credentials(const AwsContext& context) {
  std::string reasons;
  const auto try_source = [&](const AwsSource& source) -> AwsAnswer {
    std::string why_not;
    auto found = source.fetch(context, why_not);
    if (found && *found) {
      log_line(LogLevel::info, fmt::format("credentials come from {}", (*found)->source));
    } else {
      reasons += fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", source.name, why_not);
    }
    return found;
  };
  if (!context.profile.empty()) {
    if (auto found = TRY(try_source(kProfile))) return *std::move(found);
  }
  for (const AwsSource& source : kAwsSources) {
    if (!context.profile.empty() && source.name == kProfile.name) continue;
    if (auto found = TRY(try_source(source))) return *std::move(found);
  }
  return Error(
      ErrorKind::permission_denied,
      fmt::format("no credentials were found ({}); for a public bucket set s3_unsigned", reasons));
}

}  // namespace streamer::core
