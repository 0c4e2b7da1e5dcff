// SPDX-License-Identifier: Apache-2.0
// The credentials of a profile in the shared files.
#include <fmt/format.h>

#include <algorithm>

#include "auth/aws/context.hpp"
#include "base/text.hpp"

namespace streamer::core::inline auth {

namespace {

constexpr std::chrono::seconds kProcessDeadline{60};

class ProfileReader {
 public:
  ProfileReader(const AwsContext& context, const AwsConfig& config)
      : context_(context), config_(config) {}

  // nullopt: the profile names no role, or takes it on by web identity.
  AwsAnswer role(const std::string& profile) {
    visited_.push_back(profile);
    const auto arn = config_.value(profile, "role_arn");
    if (!arn || config_.value(profile, "web_identity_token_file"))
      return std::optional<AwsCredentials>();
    return std::optional(TRY(assume(profile, *arn)));
  }

  // Everything but roles and web identity. nullopt: the profile says nothing of credentials.
  AwsAnswer others(const std::string& profile) const {
    if (auto found = TRY(credentials_from_sso(context_, config_, profile))) return found;
    if (auto keys = TRY(keys_of(profile, AwsFile::credentials))) return keys;
    if (config_.value(profile, "login_session")) {
      return Error(ErrorKind::unsupported,
                   fmt::format("profile \"{}\" holds a login session; run \"aws configure "
                               "export-credentials\" and use what it prints",
                               profile));
    }
    if (const auto command = config_.value(profile, "credential_process")) {
      AwsCredentials credentials = TRY(credentials_from_process(*command, kProcessDeadline));
      credentials.source = fmt::format("credential_process of profile \"{}\"", profile);
      return std::optional(std::move(credentials));
    }
    return keys_of(profile, AwsFile::config);
  }

 private:
  Error wrong(const std::string& profile, std::string_view what) const {
    return Error(ErrorKind::invalid_argument, fmt::format("profile \"{}\" {}", profile, what));
  }

  bool has_keys(const std::string& profile) const {
    return config_.value(profile, "aws_access_key_id") ||
           config_.value(profile, "aws_secret_access_key");
  }

  // The keys whose id is in that file. The secret may be in the other one; a token belongs to the
  // secret in the same file.
  AwsAnswer keys_of(const std::string& profile, AwsFile file) const {
    const auto id = config_.value(file, profile, "aws_access_key_id");
    if (!id) return std::optional<AwsCredentials>();
    const AwsFile other = file == AwsFile::config ? AwsFile::credentials : AwsFile::config;
    AwsFile place = file;
    auto secret = config_.value(file, profile, "aws_secret_access_key");
    if (!secret) {
      place = other;
      secret = config_.value(other, profile, "aws_secret_access_key");
    }
    if (!secret) {
      return wrong(profile, "has only one of aws_access_key_id and aws_secret_access_key")
          .at(config_.path(file));
    }
    auto token = config_.value(place, profile, "aws_security_token");
    if (!token) token = config_.value(place, profile, "aws_session_token");
    AwsCredentials credentials{.access_key_id = *id,
                               .secret_access_key = Secret(*secret),
                               .session_token = Secret(token.value_or("")),
                               .expires = {},
                               .source = fmt::format("profile \"{}\"", profile)};
    TRY(check_credentials(credentials).at(config_.path(file)));
    return std::optional(std::move(credentials));
  }

  Result<AwsCredentials> assume(const std::string& profile, const std::string& arn) {
    if (config_.value(profile, "mfa_serial")) {
      return Error(ErrorKind::unsupported,
                   fmt::format("profile \"{}\" requires an MFA code, which a server cannot enter; "
                               "get a session first, with aws sts assume-role",
                               profile));
    }
    AssumedRole role{.arn = arn,
                     .session_name = config_.value(profile, "role_session_name").value_or(""),
                     .external_id = config_.value(profile, "external_id").value_or("")};
    if (const auto duration = config_.value(profile, "duration_seconds")) {
      const auto seconds = parse_unsigned(*duration);
      if (!seconds) return wrong(profile, "has a duration_seconds that is not a number");
      role.duration_s = *seconds;
    }
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
    const bool is_known = std::find(visited_.begin(), visited_.end(), source) != visited_.end();
    // A profile may name itself if it has keys of its own.
    if (is_known && !(source == profile && has_keys(source))) {
      return Error(ErrorKind::invalid_argument,
                   fmt::format("the source_profile chain leads back to profile \"{}\"", source));
    }
    std::optional<AwsCredentials> base;
    // As a source profile, its keys take precedence over its role.
    if (!has_keys(source)) base = TRY(role(source));
    if (!base) base = TRY(web_identity_of_profile(context_, config_, source, true));
    if (!base) base = TRY(others(source));
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
      return wrong(
          profile,
          "has a credential_source other than Environment, EcsContainer and Ec2InstanceMetadata");
    }
    if (base) return *std::move(base);
    return wrong(profile, fmt::format("takes credentials from {}, but {}", place, why_not));
  }

  const AwsContext& context_;
  const AwsConfig& config_;
  std::vector<std::string> visited_;
};

}  // namespace

AwsAnswer credentials_from_profile_role(const AwsContext& context, std::string& why_not) {
  static_cast<void>(why_not);  // most profiles have none
  const AwsConfig config = TRY(AwsConfig::read(context.environment, context.profile));
  return ProfileReader(context, config).role(config.profile());
}

AwsAnswer credentials_from_profile(const AwsContext& context, std::string& why_not) {
  const AwsConfig config = TRY(AwsConfig::read(context.environment, context.profile));
  const std::string& profile = config.profile();
  auto found = TRY(ProfileReader(context, config).others(profile));
  if (found) return found;
  why_not = fmt::format("there is no profile \"{}\"", profile);
  if (config.has_profile(profile)) why_not = fmt::format("profile \"{}\" has none", profile);
  const bool is_half = config.value(profile, "aws_secret_access_key").has_value();
  if (is_half) why_not += ": aws_secret_access_key is set without aws_access_key_id";
  if (config.value(profile, "sso_session") || config.value(profile, "sso_start_url"))
    why_not += ": for SSO it needs sso_account_id and sso_role_name";
  return found;
}

}  // namespace streamer::core::inline auth
