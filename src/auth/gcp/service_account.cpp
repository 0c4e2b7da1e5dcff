// SPDX-License-Identifier: Apache-2.0
// Service accounts of Google, by their private key.
#include <fmt/format.h>

#include "auth/gcp/context.hpp"
#include "base/json.hpp"

namespace streamer::core::inline auth {

namespace {

constexpr std::chrono::seconds kLifetime{3600};
constexpr std::string_view kJwtGrant = "urn:ietf:params:oauth:grant-type:jwt-bearer";

// Google's own endpoints, for which the JWT is as good as the token it would be exchanged for.
bool is_googles_own(std::string_view token_uri) {
  return token_uri.empty() || token_uri == "https://oauth2.googleapis.com/token" ||
         token_uri == "https://accounts.google.com/o/oauth2/token" ||
         token_uri == "https://www.googleapis.com/oauth2/v4/token";
}

Result<std::string> service_account_jwt(const GoogleFile& file, std::string_view audience,
                                        std::string_view scope, SystemTime now) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch());
  const std::string header = file.private_key_id.empty()
                                 ? R"({"alg":"RS256","typ":"JWT"})"
                                 : fmt::format(R"({{"alg":"RS256","typ":"JWT","kid":{}}})",
                                               quote_json(file.private_key_id));
  const std::string email = quote_json(file.client_email);
  std::string claims =
      fmt::format(R"({{"iss":{},"sub":{},"scope":{},)", email, email, quote_json(scope));
  if (!audience.empty()) claims += fmt::format(R"("aud":{},)", quote_json(audience));
  claims += fmt::format(R"("iat":{},"exp":{}}})", seconds.count(), (seconds + kLifetime).count());
  return make_jwt(header, claims, file.private_key).at(file.path);
}

}  // namespace

Result<BearerToken> token_from_service_account(const GcpContext& context, const GoogleFile& file,
                                               std::string_view scope) {
  const std::string source =
      fmt::format("the service account {} ({})", file.client_email, file.path);
  const SystemTime now = context.now();
  // Other universes take nothing else.
  if (is_googles_own(file.token_uri) || file.universe != kGooglesUniverse) {
    std::string jwt = TRY(service_account_jwt(file, "", scope, now));
    return BearerToken{.token = Secret(std::move(jwt)),
                       .expires = now + kLifetime,
                       .source = source + ", self-signed",
                       .quota_project = file.quota_project};
  }
  const HttpUrl url = TRY(parse_secret_url("token_uri", file.token_uri).at(file.path));
  const std::string assertion = TRY(service_account_jwt(file, file.token_uri, scope, now));
  BearerToken token = TRY(ask_for_token(
      context,
      form_request(context, url,
                   {{"grant_type", std::string(kJwtGrant)}, {"assertion", assertion}}),
      source));
  token.quota_project = file.quota_project;
  return token;
}

}  // namespace streamer::core::inline auth
