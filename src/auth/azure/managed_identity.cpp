// SPDX-License-Identifier: Apache-2.0
// The identity that Azure gives a machine, whichever service it runs in.
#include <fmt/format.h>

#include <array>

#include "auth/azure/context.hpp"
#include "auth/credential_files.hpp"
#include "base/text.hpp"

namespace streamer::core::inline auth {

namespace {

constexpr std::string_view kResource = "https://storage.azure.com";
constexpr std::size_t kMostKeyBytes = 4096;
constexpr Milliseconds kProbe{1000};
constexpr std::uint32_t kIdentityAttempts = 3;
// While the service is being replaced it answers 410, for up to 70 seconds; 404 while it starts.
constexpr std::array<Milliseconds, 5> kPauses = {Milliseconds(2000), Milliseconds(4000),
                                                 Milliseconds(8000), Milliseconds(16'000),
                                                 Milliseconds(40'000)};

Result<HttpRequest> identity_request(const AzureContext& context, std::string_view variable,
                                     std::string_view text, Form parameters, HttpHeader header) {
  const HttpUrl url = TRY(parse_url(text).at(variable));
  TRY(check_header_value(header.name, header.value));
  HttpRequest request;
  request.origin = url.origin;
  request.path = url.path;
  request.query = canonical_query(std::move(parameters));
  request.headers = {std::move(header)};
  request.route = context.route_past_proxies();
  return request;
}

Form with_client(const AzureContext& context, Form parameters, const char* name) {
  if (const auto client = context.environment("AZURE_CLIENT_ID"))
    parameters.emplace_back(name, *client);
  return parameters;
}

TransferOptions quickly(Milliseconds timeout) {
  TransferOptions options;
  options.connect_timeout = options.total_timeout = timeout;
  return options;
}

Result<BearerToken> from_app_service(const AzureContext& context, const std::string& endpoint,
                                     const std::string& secret, bool is_old) {
  const HttpRequest request =
      TRY(identity_request(context, is_old ? "MSI_ENDPOINT" : "IDENTITY_ENDPOINT", endpoint,
                           with_client(context,
                                       {{"api-version", is_old ? "2017-09-01" : "2019-08-01"},
                                        {"resource", std::string(kResource)}},
                                       is_old ? "clientid" : "client_id"),
                           {is_old ? "secret" : "X-IDENTITY-HEADER", secret}));
  return ask_for_token(context, request, "the managed identity of the app service");
}

Result<BearerToken> from_cloud_shell(const AzureContext& context, const std::string& endpoint) {
  const HttpUrl url = TRY(parse_url(endpoint).at("MSI_ENDPOINT"));
  HttpRequest request = form_request(context, url, {{"resource", std::string(kResource)}});
  request.route = context.route_past_proxies();
  request.headers.push_back({"Metadata", "true"});
  return ask_for_token(context, request, "the managed identity of the cloud shell");
}

// "Basic realm=/path": the file whose content proves that this process may read it.
Result<Secret> arc_key(const AzureContext& context, std::string_view challenge) {
  constexpr std::string_view kBefore = "Basic realm=";
  const std::string path(trim(challenge.substr(std::min(kBefore.size(), challenge.size()))));
  const bool is_key = challenge.starts_with(kBefore) && path.starts_with(context.arc_folder) &&
                      path.ends_with(".key") && path.find("..") == std::string::npos &&
                      path.find('/', context.arc_folder.size()) == std::string::npos;
  if (!is_key) {
    return Error(
        ErrorKind::permission_denied,
        fmt::format("the Arc agent asks for a file that is not a key in {}: it is not sent",
                    context.arc_folder));
  }
  return read_token_file(path, kMostKeyBytes);
}

Result<BearerToken> from_arc(const AzureContext& context, const std::string& endpoint) {
  HttpRequest request = TRY(identity_request(
      context, "IDENTITY_ENDPOINT", endpoint,
      with_client(context, {{"api-version", "2019-11-01"}, {"resource", std::string(kResource)}},
                  "client_id"),
      {"Metadata", "true"}));
  if (!keeps_secrets(Endpoint{request.origin, ""})) {
    return Error(ErrorKind::permission_denied,
                 "IDENTITY_ENDPOINT of Azure Arc must be on this machine");
  }
  const HttpAnswer challenge =
      TRY(ask(context, request, quickly(Milliseconds(5000)), kIdentityAttempts));
  const std::string source = "the managed identity of this Arc machine";
  if (challenge.head.status != 401) return read_token_answer(context, request, challenge, source);
  const Secret key = TRY(arc_key(context, challenge.head.header_or_empty("www-authenticate")));
  request.headers.push_back({"Authorization", "Basic " + std::string(key.reveal())});
  return ask_for_token(context, request, source);
}

TokenAnswer from_imds(const AzureContext& context, std::string& why_not) {
  std::string host =
      context.environment("AZURE_POD_IDENTITY_AUTHORITY_HOST").value_or("http://169.254.169.254");
  while (host.ends_with("/"))
    host.pop_back();
  const HttpRequest request = TRY(identity_request(
      context, "AZURE_POD_IDENTITY_AUTHORITY_HOST", host + "/metadata/identity/oauth2/token",
      with_client(context, {{"api-version", "2018-02-01"}, {"resource", std::string(kResource)}},
                  "client_id"),
      {"Metadata", "true"}));
  // One attempt to find out whether it exists at all.
  auto answer = ask(context, request, quickly(kProbe), 1);
  if (!answer) {
    why_not = fmt::format("no answer from {}", request.host());
    return std::optional<BearerToken>();
  }
  for (const Milliseconds pause : kPauses) {
    const int status = answer->head.status;
    if (status != 404 && status != 410 && status != 429 && status < 500) break;
    context.pause(pause);
    answer = TRY(ask(context, request, quickly(Milliseconds(5000)), kIdentityAttempts));
  }
  const int status = answer->head.status;
  if (status == 400 || status == 403) {
    why_not = fmt::format("{} answered {}: the machine has no identity, or not this one",
                          request.host(), status);
    return std::optional<BearerToken>();
  }
  return std::optional(
      TRY(read_token_answer(context, request, *answer, "the managed identity of this machine")));
}

}  // namespace

TokenAnswer token_from_managed_identity(const AzureContext& context, std::string& why_not) {
  const auto endpoint = context.environment("IDENTITY_ENDPOINT");
  const auto header = context.environment("IDENTITY_HEADER");
  const auto old_endpoint = context.environment("MSI_ENDPOINT");
  const auto old_secret = context.environment("MSI_SECRET");
  if (endpoint && header && context.environment("IDENTITY_SERVER_THUMBPRINT")) {
    return Error(ErrorKind::unsupported,
                 "the managed identity of Service Fabric (IDENTITY_SERVER_THUMBPRINT) is not "
                 "supported; give credentials of another kind");
  }
  if (endpoint && header)
    return std::optional(TRY(from_app_service(context, *endpoint, *header, false)));
  if (endpoint && context.environment("IMDS_ENDPOINT"))
    return std::optional(TRY(from_arc(context, *endpoint)));
  if (endpoint) {
    why_not = "IDENTITY_ENDPOINT is set, but neither IDENTITY_HEADER nor IMDS_ENDPOINT is";
    return std::optional<BearerToken>();
  }
  if (old_endpoint && old_secret)
    return std::optional(TRY(from_app_service(context, *old_endpoint, *old_secret, true)));
  if (old_endpoint) return std::optional(TRY(from_cloud_shell(context, *old_endpoint)));
  return from_imds(context, why_not);
}

}  // namespace streamer::core::inline auth
