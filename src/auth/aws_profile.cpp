// SPDX-License-Identifier: Apache-2.0
// What a profile of the shared files says of credentials.
#include <fmt/format.h>

#include <algorithm>

#include "auth/aws_context.hpp"
#include "base/text.hpp"

namespace streamer::core {

namespace {

constexpr std::chrono::seconds kProcessDeadline{60};

class ProfileReader {
 public:
  ProfileReader(const AwsContext& context, const AwsConfig& config)
      : context_(context), config_(config) {}

  // nullopt: the profile says nothing of credentials.
  AwsAnswer read(const std::string& profile) {
    if (std::find(visited_.begin(), visited_.end(), profile) != visited_.end()) {
      return Error(ErrorKind::invalid_argument,
                   fmt::format("the source_profile chain comes back to profile \"{}\"", profile));
    }
    visited_.push_back(profile);
    if (const auto role = config_.value(profile, "role_arn"))
      return std::optional(TRY(assume(profile, *role)));
    if (auto keys = TRY(static_keys(profile))) return keys;
    if (config_.value(profile, "sso_session") || config_.value(profile, "sso_start_url"))
      return std::optional(TRY(credentials_from_sso(context_, config_, profile)));
    if (const auto command = config_.value(profile, "credential_process")) {
      AwsCredentials credentials = TRY(credentials_from_process(*command, kProcessDeadline));
      credentials.source = fmt::format("credential_process of profile \"{}\"", profile);
      return std::optional(std::move(credentials));
    }
    if (config_.value(profile, "login_session")) {
      return Error(ErrorKind::unsupported,
                   fmt::format("profile \"{}\" holds a login session; run \"aws configure "
                               "export-credentials\" and pass what it prints",
                               profile));
    }
    return std::optional<AwsCredentials>();
  }

 private:
  Error wrong(const std::string& profile, std::string_view what) const {
    return Error(ErrorKind::invalid_argument, fmt::format("profile \"{}\" {}", profile, what));
  }

  AwsAnswer static_keys(const std::string& profile) const {
    const auto id = config_.value(profile, "aws_access_key_id");
    const auto secret = config_.value(profile, "aws_secret_access_key");
    if (!id && !secret) return std::optional<AwsCredentials>();
    if (!id || !secret)
      return wrong(profile, "has only one of aws_access_key_id and aws_secret_access_key");
    AwsCredentials credentials{
        .access_key_id = *id,
        .secret_access_key = Secret(*secret),
        .session_token = Secret(config_.value(profile, "aws_session_token").value_or("")),
        .expires = {},
        .source = fmt::format("profile \"{}\"", profile)};
    TRY(check_credentials(credentials));
    return std::optional(std::move(credentials));
  }

  Result<AwsCredentials> assume(const std::string& profile, const std::string& arn) {
    if (config_.value(profile, "mfa_serial")) {
      return Error(ErrorKind::unsupported,
                   fmt::format("profile \"{}\" asks for a code of an MFA device, which a server "
                               "cannot type; get a session first, with aws sts assume-role",
                               profile));
    }
    AssumedRole role{.arn = arn,
                     .session_name = config_.value(profile, "role_session_name").value_or(""),
                     .external_id = config_.value(profile, "external_id").value_or("")};
    if (const auto duration = config_.value(profile, "duration_seconds")) {
      const auto seconds = parse_unsigned(*duration);
      if (!seconds) return wrong(profile, "has a duration_seconds that is no number");
      role.duration_s = *seconds;
    }
    if (const auto token = config_.value(profile, "web_identity_token_file"))
      return assume_role_with_web_identity(context_, role, *token);
    const auto source = config_.value(profile, "source_profile");
    const auto place = config_.value(profile, "credential_source");
    if (source.has_value() == place.has_value()) {
      return wrong(profile,
                   "has a role_arn and must have exactly one of source_profile and "
                   "credential_source");
    }
    const AwsCredentials base =
        source ? TRY(from_source_profile(profile, *source)) : TRY(from_place(profile, *place));
    return assume_role(context_, role, base);
  }

  Result<AwsCredentials> from_source_profile(const std::string& profile,
                                             const std::string& source) {
    if (!config_.has_profile(source)) {
      return Error(ErrorKind::invalid_argument,
                   fmt::format("profile \"{}\" names source_profile \"{}\", which does not exist",
                               profile, source));
    }
    // A profile may name itself if it has keys of its own.
    auto base = source == profile ? TRY(static_keys(profile)) : TRY(read(source));
    if (base) return *std::move(base);
    return wrong(source, "is a source_profile and has no credentials");
  }

  Result<AwsCredentials> from_place(const std::string& profile, const std::string& place) const {
    std::string why_not;
    std::optional<AwsCredentials> base;
    if (place == "Environment") {
      base = TRY(credentials_from_environment(context_, why_not));
    } else if (place == "EcsContainer") {
      base = TRY(credentials_from_container(context_, why_not));
    } else if (place == "Ec2InstanceMetadata") {
      base = TRY(credentials_from_imds(context_, why_not));
    } else {
      return wrong(profile,
                   "has a credential_source that is none of Environment, EcsContainer and "
                   "Ec2InstanceMetadata");
    }
    if (base) return *std::move(base);
    return wrong(profile, fmt::format("takes credentials from {}, but {}", place, why_not));
  }

  const AwsContext& context_;
  const AwsConfig& config_;
  std::vector<std::string> visited_;
};

}  // namespace

AwsAnswer credentials_from_profile(const AwsContext& context, std::string& why_not) {
  const AwsConfig config = TRY(AwsConfig::read(context.environment, context.profile));
  auto found = TRY(ProfileReader(context, config).read(config.profile()));
  if (!found) {
    why_not = config.has_profile(config.profile())
                  ? fmt::format("profile \"{}\" holds none", config.profile())
                  : fmt::format("there is no profile \"{}\"", config.profile());
  }
  return found;
}

}  // namespace streamer::core
