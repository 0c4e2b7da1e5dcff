// SPDX-License-Identifier: Apache-2.0
// The order in which Google's credentials are looked for, and what each type of file stands for.
#include <fmt/format.h>
#include <unistd.h>

#include "auth/credential_files.hpp"
#include "auth/gcp_context.hpp"
#include "base/crypto.hpp"
#include "base/log.hpp"

namespace streamer::core {

namespace {

constexpr std::string_view kTokenUri = "https://oauth2.googleapis.com/token";

Result<BearerToken> refresh_user(const GcpContext& context, const GoogleFile& file,
                                 std::string_view scope) {
  const bool is_federated = file.type == "external_account_authorized_user";
  std::string address = is_federated ? file.token_url : file.token_uri;
  if (address.empty()) address = kTokenUri;
  const HttpUrl url = TRY(parse_secret_url("the token's URL", address).at(file.path));
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

// What "gcloud auth application-default login" writes.
std::string gcloud_file(const GcpContext& context) {
  const auto folder = context.environment("CLOUDSDK_CONFIG");
  return folder.value_or(home_directory(context.environment) + "/.config/gcloud") +
         "/application_default_credentials.json";
}

}  // namespace

Result<BearerToken> token_from_google_file(const GcpContext& context, const GoogleFile& file,
                                           std::string_view scope) {
  if (file.type == "service_account") return token_from_service_account(context, file, scope);
  if (file.type == "external_account") return token_from_external_account(context, file, scope);
  if (file.type != "impersonated_service_account") return refresh_user(context, file, scope);
  const BearerToken base = TRY(token_from_google_file(
      context, *file.source_credentials, "https://www.googleapis.com/auth/cloud-platform"));
  BearerToken token = TRY(impersonate(context, file.impersonation_url, file.delegates,
                                      file.impersonation_lifetime_s, base, scope)
                              .at(file.path));
  token.quota_project = file.quota_project;
  return token;
}

Result<BearerToken> find_google_token(const GcpContext& context) {
  std::string named = context.credential_file;
  if (named.empty()) named = context.environment("GOOGLE_APPLICATION_CREDENTIALS").value_or("");
  std::string path = named.empty() ? gcloud_file(context) : named;
  std::string why_not;
  std::optional<BearerToken> token;
  if (!named.empty() || ::access(path.c_str(), F_OK) == 0) {
    const GoogleFile file = TRY(read_google_file(path));
    token = TRY(token_from_google_file(context, file, kGoogleReadScope));
  } else {
    token = TRY(token_from_google_metadata(context, why_not));
  }
  if (!token) {
    return Error(
        ErrorKind::permission_denied,
        fmt::format("no credentials were found (GOOGLE_APPLICATION_CREDENTIALS is not set; there "
                    "is no {}; metadata server: {}); for a public bucket set gcs_unsigned",
                    path, why_not));
  }
  if (token->quota_project.empty())
    token->quota_project = context.environment("GOOGLE_CLOUD_QUOTA_PROJECT").value_or("");
  TRY(check_header_value("the quota project", token->quota_project));
  log_line(LogLevel::info, fmt::format("credentials come from {}", token->source));
  return *std::move(token);
}

}  // namespace streamer::core
