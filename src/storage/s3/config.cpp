// SPDX-License-Identifier: Apache-2.0
#include "storage/s3/config.hpp"

#include <fmt/format.h>

#include <array>

#include "base/crypto.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "storage/cloud_hosts.hpp"
#include "storage/remote_settings.hpp"
#include "storage/s3/known_stores.hpp"
#include "storage/s3/s3_settings.hpp"

namespace streamer::core::inline storage {

namespace {

constexpr const char* kS3UnsignedVariable = "RUNAI_STREAMER_S3_UNSIGNED";

class S3ConfigReader {
 public:
  S3ConfigReader(const RemoteConfig& from, const Environment& environment, AwsConfig profile)
      : environment_(environment), from_(from), profile_(std::move(profile)) {}

  Result<void> read_endpoint(S3Config& config) const {
    const auto found = endpoint_text();
    config.endpoint_source = found ? found->source : "AWS' own";
    if (found) config.endpoint.custom = TRY(parse_endpoint(found->value));
    AwsVariant variant = aws_variant(environment_, profile_);
    if (is_true(profile_.nested("s3", "use_dualstack_endpoint").value_or("")))
      variant.dual_stack = true;
    if (found && (variant.fips || variant.dual_stack)) {
      // As the AWS CLI does; but FIPS is a promise that this endpoint may not keep, so it warns.
      log_line(
          LogLevel::warning,
          fmt::format("the S3 endpoint of {} is used as it stands: {} is for AWS' own endpoints",
                      found->source, variant.fips ? "FIPS" : "dual-stack"));
      variant = {};
    }
    config.endpoint.uses_fips = variant.fips;
    config.endpoint.uses_dual_stack = variant.dual_stack;
    config.endpoint.uses_acceleration =
        is_true(profile_.nested("s3", "use_accelerate_endpoint").value_or(""));
    config.endpoint.addressing = from_.get(setting::kS3Addressing);
    if (config.endpoint.addressing != S3Addressing::automatic) return {};
    const auto style = profile_.nested("s3", "addressing_style");
    if (style == "path") config.endpoint.addressing = S3Addressing::path;
    if (style == "virtual") config.endpoint.addressing = S3Addressing::virtual_host;
    return {};
  }

  Result<void> read_region(S3Config& config) const {
    config.region = region_text();
    const bool is_default = config.region.source == "the default";
    if (is_default && config.endpoint.custom) {
      const std::string_view host = config.endpoint.custom->host();
      std::string named = region_of_aws_host(host);
      if (named.empty()) named = region_of_known_host(host);
      if (is_region(named)) config.region = {named, "the endpoint's host"};
    }
    if (is_region(config.region.value)) return {};
    return Error(ErrorKind::invalid_argument,
                 fmt::format("\"{}\" (from {}) is not a region; write one such as eu-west-1",
                             config.region.value.substr(0, 80), config.region.source));
  }

  Result<TlsFiles> tls_files() const {
    const auto of_profile = profile_.value("ca_bundle");
    if (!of_profile) return from_.tls_files();
    return from_.tls_files(
        Sourced{*of_profile, fmt::format("ca_bundle of profile \"{}\"", profile_.profile())});
  }

  Result<void> read_headers(S3Config& config) const {
    // A project agrees for Google, where it is charged.
    const RequesterPays::Value pays = from_.get(setting::kRequesterPays);
    if (pays.agrees && pays.project.empty())
      config.extra_headers.push_back({"x-amz-request-payer", "requester"});
    if (const auto owner = from_.get(setting::kS3ExpectedBucketOwner)) {
      TRY(check_header_value("s3_expected_bucket_owner", *owner));
      config.extra_headers.push_back({"x-amz-expected-bucket-owner", *owner});
    }
    if (const Secret key = from_.secret(setting::kS3SseCustomerKey); !key.empty()) {
      const auto bytes = base64_decode(key.reveal());
      if (!bytes || bytes->size() != 32) {
        return Error(ErrorKind::invalid_argument,
                     "s3_sse_customer_key must be the base64 of 32 bytes");
      }
      const std::string prefix = "x-amz-server-side-encryption-customer-";
      config.extra_headers.push_back({prefix + "algorithm", "AES256"});
      config.extra_headers.push_back({prefix + "key", std::string(key.reveal())});
      config.extra_headers.push_back({prefix + "key-MD5", base64_encode(md5_bytes(*bytes))});
    }
    return {};
  }

  // The caller's callback, or the setting, or else the chain of sources.
  Result<void> read_credentials(S3Config& config) const {
    auto without = environment_("AWS_S3_DISABLE_EXPRESS_SESSION_AUTH");
    if (!without) without = profile_.value("s3_disable_express_session_auth");
    config.uses_sessions = !is_true(without.value_or(""));
    if (const auto callback = from_.settings().credentials_callback()) {
      config.fetch_credentials = [callback]() -> Result<AwsCredentials> {
        const GivenCredentials given = TRY((*callback)());
        if (given.access_key_id.empty() || given.secret_access_key.empty()) {
          return Error(ErrorKind::permission_denied,
                       "the program's callback gave no access_key_id or no secret_access_key");
        }
        AwsCredentials credentials{.access_key_id = given.access_key_id,
                                   .secret_access_key = given.secret_access_key,
                                   .session_token = given.session_token,
                                   .expires = given.expires,
                                   .source = "the program's callback"};
        TRY(check_credentials(credentials));
        return credentials;
      };
      return {};
    }
    const auto chosen = from_.get(setting::kS3Credentials);
    // Run:ai's variable, where credentials are looked for.
    const bool is_unsigned_by_variable = is_true(environment_(kS3UnsignedVariable).value_or(""));
    config.is_unsigned =
        chosen ? chosen->kind == S3CredentialKind::anonymous : is_unsigned_by_variable;
    if (config.is_unsigned)
      config.unsigned_source =
          chosen ? from_.source_of(setting::kS3Credentials) : kS3UnsignedVariable;
    if (chosen && !chosen->secret.empty()) {
      const AwsCredentials credentials{.access_key_id = chosen->name,
                                       .secret_access_key = chosen->secret,
                                       .session_token = chosen->token,
                                       .expires = {},
                                       .source = from_.source_of(setting::kS3Credentials)};
      TRY(check_credentials(credentials));
      config.fetch_credentials = [credentials]() -> Result<AwsCredentials> { return credentials; };
      return {};
    }
    config.fetch_credentials = [auth = config.auth] { return find_aws_credentials(auth); };
    return {};
  }

 private:
  std::optional<Sourced> endpoint_text() const {
    if (auto own = from_.first_of(setting::kS3Endpoint, {setting::kS3Endpoint.variable()}))
      return own;
    const bool ignores = ignores_aws_endpoint_urls(environment_, profile_) ||
                         environment_("RUNAI_STREAMER_OVERRIDE_ENDPOINT_URL") == "0";
    const auto runai = environment_("RUNAI_STREAMER_S3_ENDPOINT");
    const auto general = environment_("AWS_ENDPOINT_URL");
    // Inference servers copy AWS_ENDPOINT_URL there: then it adds nothing.
    if (runai && runai != general) return Sourced{*runai, "RUNAI_STREAMER_S3_ENDPOINT"};
    if (ignores) return std::nullopt;
    if (const auto s3 = environment_("AWS_ENDPOINT_URL_S3"))
      return Sourced{*s3, "AWS_ENDPOINT_URL_S3"};
    if (general) return Sourced{*general, "AWS_ENDPOINT_URL"};
    if (const auto named = profile_.endpoint_url("s3"))
      return Sourced{*named, fmt::format("profile \"{}\"", profile_.profile())};
    return std::nullopt;
  }

  Sourced region_text() const {
    if (const auto in_code = from_.get(setting::kS3Region))
      return {*in_code, "the setting s3_region"};
    for (const char* variable : {"AWS_REGION", "AWS_DEFAULT_REGION"}) {
      if (const auto value = environment_(variable)) return {*value, variable};
    }
    if (const auto value = profile_.value("region"))
      return {*value, fmt::format("profile \"{}\"", profile_.profile())};
    return {"us-east-1", "the default"};
  }

  const Environment& environment_;
  const RemoteConfig& from_;
  const AwsConfig profile_;
};

}  // namespace

Result<S3Config> read_s3_config(const Settings& settings, const Environment& environment,
                                HttpClient& http) {
  const RemoteConfig from = TRY(RemoteConfig::read(settings, environment));
  const auto chosen = from.get(setting::kS3Credentials);
  const std::string profile =
      chosen && chosen->kind == S3CredentialKind::profile ? chosen->name : "";
  const S3ConfigReader reader(from, environment, TRY(AwsConfig::read(environment, profile)));
  S3Config config;
  TRY(reader.read_endpoint(config));
  TRY(reader.read_region(config));
  TRY(reader.read_headers(config));
  config.version_id = from.text(setting::kS3VersionId);
  config.auth.environment = environment;
  config.auth.http = &http;
  config.auth.profile = profile;
  config.auth.region = from.text(setting::kS3Region);
  config.auth.tls = TRY(reader.tls_files());
  TRY(reader.read_credentials(config));
  return config;
}

}  // namespace streamer::core::inline storage
