// SPDX-License-Identifier: Apache-2.0
// IAM Identity Center: the token that "aws sso login" left in the cache, traded for keys.
#include <fmt/format.h>

#include "auth/aws_context.hpp"
#include "base/crypto.hpp"
#include "base/json.hpp"

namespace streamer::core {

namespace {

struct CachedToken {
  Secret token;
  std::optional<SystemTime> expires;
};

Error log_in_again(const std::string& profile, std::string_view why) {
  return Error(
      ErrorKind::credentials_expired,
      fmt::format("profile \"{}\": {}; run: aws sso login --profile {}", profile, why, profile));
}

Result<CachedToken> read_cached_token(const std::string& path) {
  const std::string text = TRY(read_small_file(path, 64 * 1024));
  CachedToken cached;
  const auto read = read_json(JsonText(text), [&](JsonValue& top) {
    return top.members([&](std::string_view key, JsonValue& member) -> Result<void> {
      if (key == "accessToken") cached.token = Secret(std::string(TRY(member.string())));
      if (key == "expiresAt") cached.expires = parse_iso(TRY(member.string()));
      return {};
    });
  });
  if (!read || cached.token.empty())
    return Error(ErrorKind::invalid_argument, "the cached token is not readable").at(path);
  TRY(check_header_value("the cached token", cached.token.reveal()));
  return cached;
}

}  // namespace

Result<AwsCredentials> credentials_from_sso(const AwsContext& context, const AwsConfig& config,
                                            const std::string& profile) {
  const auto session = config.value(profile, "sso_session");
  const auto setting = [&](std::string_view key) {
    auto value = session ? config.sso_session(*session, key) : std::nullopt;
    return value ? value : config.value(profile, key);
  };
  const auto start_url = setting("sso_start_url");
  const auto region = setting("sso_region");
  const auto account = config.value(profile, "sso_account_id");
  const auto role = config.value(profile, "sso_role_name");
  if (!start_url || !region || !account || !role) {
    return Error(ErrorKind::invalid_argument,
                 fmt::format("profile \"{}\" needs sso_start_url, sso_region, sso_account_id and "
                             "sso_role_name",
                             profile));
  }
  // The AWS CLI names the file by the session, or by the start URL where there is none.
  const std::string path =
      fmt::format("{}/.aws/sso/cache/{}.json", home_directory(context.environment),
                  sha1_hex(session ? *session : *start_url));
  const auto cached = read_cached_token(path);
  if (!cached) return log_in_again(profile, "there is no usable SSO token at " + path);
  if (cached->expires && *cached->expires <= context.now())
    return log_in_again(profile, "the SSO token has expired");

  const auto url = context.environment("AWS_ENDPOINT_URL_SSO");
  const Endpoint endpoint =
      TRY(parse_endpoint(url ? *url : fmt::format("https://portal.sso.{}.amazonaws.com", *region)));
  HttpRequest request;
  request.origin = endpoint.origin;
  request.path = endpoint.base_path + "/federation/credentials";
  request.query = canonical_query({{"role_name", *role}, {"account_id", *account}});
  request.headers = {{"x-amz-sso_bearer_token", std::string(cached->token.reveal())}};
  request.route = context.route_to(endpoint);
  const HttpAnswer answer = TRY(ask(context, request, {}, 3));
  if (answer.head.status == 401) return log_in_again(profile, "the SSO token is not accepted");
  if (answer.head.status != 200) {
    return Error(ErrorKind::permission_denied,
                 fmt::format("{}: role {} of account {} was refused with {}",
                             endpoint.host_and_port(), *role, *account, answer.head.status));
  }
  return read_json_credentials(answer.body,
                               {.object = "roleCredentials",
                                .id = "accessKeyId",
                                .secret = "secretAccessKey",
                                .token = "sessionToken",
                                .expiration = "expiration"},
                               fmt::format("SSO, profile \"{}\"", profile));
}

}  // namespace streamer::core
