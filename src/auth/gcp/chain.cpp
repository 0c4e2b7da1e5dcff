// SPDX-License-Identifier: Apache-2.0
// The order of the sources of Google's credentials, and the meaning of each type of file.
#include <fmt/format.h>
#include <unistd.h>

#include "auth/credential_files.hpp"
#include "auth/gcp/context.hpp"
#include "base/crypto.hpp"
#include "base/log.hpp"
#include "base/operation.hpp"

namespace streamer::core::inline auth {

namespace {

constexpr std::string_view kTokenUri = "https://oauth2.googleapis.com/token";

Result<BearerToken> refresh_user(const GcpContext& context, const GoogleFile& file,
                                 std::string_view scope) {
  const bool is_federated = file.type == "external_account_authorized_user";
  if (!is_federated && file.universe != kGooglesUniverse) {
    return Error(ErrorKind::unsupported,
                 fmt::format("user logins belong to {} only, but universe_domain is {}",
                             kGooglesUniverse, file.universe))
        .at(file.path);
  }
  std::string address = is_federated ? file.token_url : file.token_uri;
  if (address.empty()) address = kTokenUri;
  const HttpUrl url = TRY(parse_secret_url("the token's URL", address).at(file.path));
  TRY(check_universe(file, "the token's URL", url));
  Form form = {{"grant_type", "refresh_token"},
               {"refresh_token", std::string(file.refresh_token.reveal())}};
  if (is_federated) {
    form.emplace_back("scope", scope);
  } else {
    form.emplace_back("client_id", file.client_id);
    form.emplace_back("client_secret", file.client_secret.reveal());
  }
  HttpRequest request = form_request(context, url, std::move(form));
  if (is_federated) {
    const std::string pair = file.client_id + ":" + std::string(file.client_secret.reveal());
    request.headers.push_back({"Authorization", "Basic " + base64_encode(pair)});
  }
  BearerToken token =
      TRY(ask_for_token(context, request, fmt::format("the user's login ({})", file.path)));
  token.quota_project = file.quota_project;
  return token;
}

// The file that "gcloud auth application-default login" writes.
std::string gcloud_file(const GcpContext& context) {
  const auto folder = context.environment("CLOUDSDK_CONFIG");
  return folder.value_or(home_directory(context.environment) + "/.config/gcloud") +
         "/application_default_credentials.json";
}

// The named file, or else gcloud's own if it exists; otherwise empty.
std::string google_file(const GcpContext& context) {
  std::string named = context.credential_file;
  if (named.empty()) named = context.environment("GOOGLE_APPLICATION_CREDENTIALS").value_or("");
  if (!named.empty()) return named;
  std::string path = gcloud_file(context);
  return ::access(path.c_str(), F_OK) == 0 ? path : std::string();
}

bool is_of(std::string_view host, std::string_view domain) {
  return host == domain || host.ends_with(fmt::format(".{}", domain));
}

}  // namespace

Result<BearerToken> token_from_google_file(const GcpContext& context, const GoogleFile& file,
                                           std::string_view scope) {
  if (file.type == "service_account") return token_from_service_account(context, file, scope);
  if (file.type == "external_account") return token_from_external_account(context, file, scope);
  if (file.type != "impersonated_service_account") return refresh_user(context, file, scope);
  const BearerToken base = TRY(token_from_google_file(
      context, *file.source_credentials, "https://www.googleapis.com/auth/cloud-platform"));
  BearerToken token = TRY(impersonate(context, file, base, scope).at(file.path));
  token.quota_project = file.quota_project;
  return token;
}

Result<void> check_universe(const GoogleFile& file, std::string_view what, const HttpUrl& url) {
  const std::string host(url.endpoint().host());
  if (file.universe == kGooglesUniverse || !is_of(host, kGooglesUniverse)) return {};
  return Error(ErrorKind::invalid_argument,
               fmt::format("{} is {}, but the credentials belong to the universe {}: nothing of "
                           "theirs is sent to {}; correct the file",
                           what, host, file.universe, kGooglesUniverse))
      .at(file.path);
}

Result<std::string> find_google_universe(const GcpContext& context) {
  std::string source = "GOOGLE_CLOUD_UNIVERSE_DOMAIN";
  std::string universe = context.environment(source.c_str()).value_or("");
  if (const std::string path = universe.empty() ? google_file(context) : ""; !path.empty()) {
    // A file that does not work is an error where a token is needed.
    if (const auto file = read_google_file(path)) universe = file->universe;
    source = "universe_domain in " + path;
  }
  if (universe.empty()) return std::string(kGooglesUniverse);
  const bool is_domain =
      universe.find('.') != std::string::npos && !universe.starts_with('.') &&
      universe.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-.") == std::string::npos;
  if (is_domain) return universe;
  return Error(ErrorKind::invalid_argument,
               fmt::format("{} is \"{}\", which is not a domain such as {}", source,
                           universe.substr(0, 80), kGooglesUniverse));
}

namespace {

Result<BearerToken> search(const GcpContext& context) {
  const std::string path = google_file(context);
  std::string why_not;
  std::optional<BearerToken> token;
  if (!path.empty()) {
    const GoogleFile file = TRY(read_google_file(path));
    token = TRY(token_from_google_file(context, file, kGoogleReadScope));
    token->universe = file.universe;
  } else {
    token = TRY(token_from_google_metadata(context, why_not));
  }
  if (!token) {
    TRY(still_wanted("looking for credentials"));
    return Error(
        ErrorKind::permission_denied,
        fmt::format("no credentials were found (GOOGLE_APPLICATION_CREDENTIALS is not set; there "
                    "is no {}; metadata server: {}); run gcloud auth application-default "
                    "login, or set gcs_credentials=anonymous for a public bucket",
                    gcloud_file(context), why_not));
  }
  if (const auto project = context.environment("GOOGLE_CLOUD_QUOTA_PROJECT"))
    token->quota_project = *project;
  TRY(check_header_value("the quota project", token->quota_project));
  log_line(LogLevel::info, fmt::format("credentials come from {}", token->source));
  return *std::move(token);
}

}  // namespace

Result<BearerToken> find_google_token(const GcpContext& context) {
  return keep_place(search(context));
}

}  // namespace streamer::core::inline auth
