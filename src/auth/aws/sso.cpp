// SPDX-License-Identifier: Apache-2.0
// IAM Identity Center: the token that "aws sso login" left in the cache, renewed if possible, and
// exchanged for keys.
#include <fmt/format.h>

#include "auth/aws/context.hpp"
#include "base/crypto.hpp"
#include "base/json.hpp"
#include "base/log.hpp"
#include "base/operation.hpp"
#include "base/text.hpp"

namespace streamer::core::inline auth {

namespace {

constexpr std::size_t kMostTokenBytes = 64 * 1024;
// As in the AWS CLI: a token with less time left is renewed now, while it still works.
constexpr std::chrono::minutes kRenewBefore{15};

struct SsoSettings {
  std::string profile;
  std::string session;  // empty: the older form, whose tokens cannot be renewed
  std::string start_url;
  std::string region;
  std::string account;
  std::string role;
};

Error bad_profile(const AwsConfig& config, const std::string& profile, std::string_view what) {
  return Error(ErrorKind::invalid_argument, fmt::format("profile \"{}\" {}", profile, what))
      .at(config.path(AwsFile::config));
}

// nullopt: the profile is not for SSO.
Result<std::optional<SsoSettings>> sso_settings(const AwsConfig& config,
                                                const std::string& profile) {
  const auto account = config.value(profile, "sso_account_id");
  const auto role = config.value(profile, "sso_role_name");
  if (!account && !role) return std::optional<SsoSettings>();
  SsoSettings settings{.profile = profile,
                       .session = config.value(profile, "sso_session").value_or(""),
                       .start_url = config.value(profile, "sso_start_url").value_or(""),
                       .region = config.value(profile, "sso_region").value_or(""),
                       .account = account.value_or(""),
                       .role = role.value_or("")};
  if (!settings.session.empty()) {
    const IniSection* const session = config.sso_session(settings.session);
    if (session == nullptr) {
      return bad_profile(
          config, profile,
          fmt::format("names sso_session {}, but there is no section [sso-session {}]",
                      settings.session, settings.session));
    }
    const auto take = [&](std::string_view key, std::string& into) -> Result<void> {
      const auto found = session->find(key);
      if (found == session->end() || found->second.text.empty()) return {};
      if (!into.empty() && into != found->second.text) {
        return bad_profile(config, profile,
                           fmt::format("and its [sso-session {}] have different values for {}",
                                       settings.session, key));
      }
      into = found->second.text;
      return {};
    };
    TRY(take("sso_start_url", settings.start_url));
    TRY(take("sso_region", settings.region));
  }
  if (settings.start_url.empty() || settings.region.empty() || !account || !role) {
    return bad_profile(config, profile,
                       "needs sso_start_url, sso_region, sso_account_id and sso_role_name");
  }
  return std::optional(std::move(settings));
}

Error log_in_again(const std::string& profile, std::string_view why) {
  return Error(
      ErrorKind::credentials_expired,
      fmt::format("profile \"{}\": {}; run: aws sso login --profile {}", profile, why, profile));
}

// The cache's content, by the AWS CLI's names.
class CachedToken {
 public:
  static Result<CachedToken> read(const std::string& path) {
    const Secret text(TRY(read_small_file(path, kMostTokenBytes)));
    auto members = read_flat_json(text.reveal());
    CachedToken cached;
    if (members) cached.members_ = *std::move(members);
    cached.expires_ = parse_iso(cached.text("expiresAt"));
    if (cached.text("accessToken").empty() || !cached.expires_) {
      return Error(ErrorKind::invalid_argument,
                   "the cached token has no accessToken or no expiresAt")
          .at(path);
    }
    TRY(check_header_value("the cached token", cached.text("accessToken")).at(path));
    return cached;
  }

  [[nodiscard]] std::string text(std::string_view name) const { return text_of(members_, name); }
  [[nodiscard]] SystemTime expires() const { return *expires_; }

  // Empty if it can be renewed.
  [[nodiscard]] std::string why_not_renewable(SystemTime now) const {
    for (const char* const name :
         {"refreshToken", "clientId", "clientSecret", "registrationExpiresAt"}) {
      if (text(name).empty()) return fmt::format("the cache holds no {}", name);
    }
    const auto until = parse_iso(text("registrationExpiresAt"));
    if (!until || *until <= now) return "the registration of the login's client has expired";
    return {};
  }

 private:
  FlatJson members_;
  std::optional<SystemTime> expires_;
};

// Calls the OIDC service's CreateToken. Returns the new content of the cache file.
Result<std::string> create_token(const AwsContext& context, const AwsConfig& config,
                                 const SsoSettings& sso, const CachedToken& old) {
  const std::string why_not = old.why_not_renewable(context.now());
  if (!why_not.empty()) return Error(ErrorKind::credentials_expired, why_not);
  const Endpoint endpoint =
      TRY(aws_endpoint(context, config, AwsService::sso_oidc, sso.region)).endpoint;
  HttpRequest request;
  request.method = "POST";
  request.origin = endpoint.origin;
  request.path = endpoint.base_path + "/token";
  request.headers = {{"Content-Type", "application/json"}};
  request.body = fmt::format(
      R"({{"grantType":"refresh_token","clientId":{},"clientSecret":{},"refreshToken":{}}})",
      quote_json(old.text("clientId")), quote_json(old.text("clientSecret")),
      quote_json(old.text("refreshToken")));
  request.route = context.route_to(endpoint);
  TransferOptions options;
  options.kept_bytes = kMostTokenBytes;
  const HttpAnswer answer = TRY(ask(context, request, options, 3));
  const auto members = read_flat_json(answer.body);
  const std::string token = members ? text_of(*members, "accessToken") : "";
  const auto seconds = members ? parse_unsigned(text_of(*members, "expiresIn")) : std::nullopt;
  if (answer.head.status != 200 || token.empty() || !seconds) {
    const std::string code = members ? text_of(*members, "error").substr(0, 100) : "";
    return Error(ErrorKind::credentials_expired,
                 fmt::format("{} answered {}{}{}", endpoint.host_and_port(), answer.head.status,
                             code.empty() ? "" : " ", code));
  }
  TRY(check_header_value("the renewed token", token));
  const SystemTime expires =
      context.now() + std::chrono::seconds(std::min<std::uint64_t>(*seconds, 4'000'000'000));
  std::string text = fmt::format(
      R"({{"startUrl": {}, "region": {}, "accessToken": {}, "expiresAt": {}, "clientId": {}, )"
      R"("clientSecret": {}, "registrationExpiresAt": {})",
      quote_json(sso.start_url), quote_json(sso.region), quote_json(token),
      quote_json(format_iso(expires)), quote_json(old.text("clientId")),
      quote_json(old.text("clientSecret")), quote_json(old.text("registrationExpiresAt")));
  const std::string next = text_of(*members, "refreshToken");
  if (!next.empty()) text += fmt::format(R"(, "refreshToken": {})", quote_json(next));
  return text + "}";
}

// The token to use, renewed if it is about to expire.
Result<std::string> usable_token(const AwsContext& context, const AwsConfig& config,
                                 const SsoSettings& sso, const std::string& path) {
  auto cached = CachedToken::read(path);
  if (!cached)
    return log_in_again(sso.profile, fmt::format("there is no usable SSO token at {}", path));
  const bool is_fresh = cached->expires() - context.now() >= kRenewBefore;
  if (sso.session.empty() || is_fresh) {
    if (cached->expires() > context.now()) return cached->text("accessToken");
    return log_in_again(sso.profile, fmt::format("the SSO token at {} has expired", path));
  }
  const auto renewed = create_token(context, config, sso, *cached);
  if (renewed) {
    const auto written = replace_private_file(path, *renewed);
    if (!written)
      log_line(LogLevel::warning,
               fmt::format("the renewed SSO token could not be saved: {}", written.error().line()));
    return text_of(TRY(read_flat_json(*renewed)), "accessToken");
  }
  TRY(still_wanted("renewing the SSO token"));
  // Another process may have renewed it in the meantime, which used up the refresh token.
  if (auto again = CachedToken::read(path)) cached = std::move(again);
  if (cached->expires() > context.now()) {
    log_line(LogLevel::info,
             fmt::format("the SSO token has not been renewed yet: {}", renewed.error().message()));
    return cached->text("accessToken");
  }
  return log_in_again(sso.profile,
                      fmt::format("the SSO token at {} has expired and cannot be renewed: {}", path,
                                  renewed.error().message()));
}

}  // namespace

AwsAnswer credentials_from_sso(const AwsContext& context, const AwsConfig& config,
                               const std::string& profile) {
  const auto found = TRY(sso_settings(config, profile));
  if (!found) return std::optional<AwsCredentials>();
  const SsoSettings& sso = *found;
  // The AWS CLI names the file after the session or, without one, after the start URL.
  const std::string path =
      fmt::format("{}/.aws/sso/cache/{}.json", home_directory(context.environment),
                  sha1_hex(sso.session.empty() ? sso.start_url : sso.session));
  const std::string token = TRY(usable_token(context, config, sso, path));
  const Endpoint endpoint =
      TRY(aws_endpoint(context, config, AwsService::sso, sso.region)).endpoint;
  HttpRequest request;
  request.origin = endpoint.origin;
  request.path = endpoint.base_path + "/federation/credentials";
  request.query = canonical_query({{"role_name", sso.role}, {"account_id", sso.account}});
  request.headers = {{"x-amz-sso_bearer_token", token}};
  request.route = context.route_to(endpoint);
  const HttpAnswer answer = TRY(ask(context, request, {}, 3));
  if (answer.head.status == 401) return log_in_again(profile, "the SSO token is not accepted");
  if (answer.head.status != 200) {
    return Error(ErrorKind::permission_denied,
                 fmt::format("{}: role {} of account {} was refused with {}",
                             endpoint.host_and_port(), sso.role, sso.account, answer.head.status));
  }
  return std::optional(TRY(read_json_credentials(answer.body,
                                                 {.object = "roleCredentials",
                                                  .id = "accessKeyId",
                                                  .secret = "secretAccessKey",
                                                  .token = "sessionToken",
                                                  .expiration = "expiration"},
                                                 fmt::format("SSO, profile \"{}\"", profile))));
}

}  // namespace streamer::core::inline auth
