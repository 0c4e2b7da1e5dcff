// SPDX-License-Identifier: Apache-2.0 Applications registered with Microsoft Entra: identified by a
// secret, by a certificate, or by the token of the cluster they run in.
#include <fmt/format.h>

#include <algorithm>

#include "auth/azure/context.hpp"
#include "auth/credential_files.hpp"
#include "base/certificates.hpp"
#include "base/chance.hpp"
#include "base/crypto.hpp"
#include "base/json.hpp"

namespace streamer::core::inline auth {

namespace {

constexpr std::size_t kMostAssertionBytes = 64 * 1024;
constexpr std::size_t kMostCertificateBytes = 256 * 1024;
constexpr std::string_view kStorageScope = "https://storage.azure.com/.default";
constexpr std::string_view kJwtAssertion = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
constexpr std::chrono::minutes kAssertionLife{10};

bool is_tenant(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-';
  });
}

Result<HttpUrl> token_url(const AzureContext& context, const std::string& tenant) {
  if (!is_tenant(tenant)) {
    return Error(ErrorKind::invalid_argument,
                 "AZURE_TENANT_ID may hold letters, digits, dots and dashes");
  }
  // Without a scheme it is https.
  std::string authority =
      context.environment("AZURE_AUTHORITY_HOST").value_or("https://login.microsoftonline.com");
  while (authority.ends_with("/") || authority.ends_with(" "))
    authority.pop_back();
  return parse_secret_url("AZURE_AUTHORITY_HOST",
                          fmt::format("{}/{}/oauth2/v2.0/token", authority, tenant));
}

Result<std::string> certificate_assertion(const AzureContext& context, const HttpUrl& url,
                                          const std::string& client, const std::string& path) {
  const Secret content(TRY(read_small_file(path, kMostCertificateBytes)));
  const Secret password(context.environment("AZURE_CLIENT_CERTIFICATE_PASSWORD").value_or(""));
  const auto certificate = read_certificate(content.reveal(), password);
  if (!certificate) {
    return Error(certificate.error().kind(),
                 fmt::format("the certificate of AZURE_CLIENT_CERTIFICATE_PATH cannot be used: {} "
                             "(AZURE_CLIENT_CERTIFICATE_PASSWORD is {})",
                             certificate.error().message(), password.empty() ? "not set" : "set"))
        .at(path);
  }
  // The chain, for applications that trust an issuer instead of one certificate.
  std::string chain;
  if (is_true(context.environment("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN").value_or(""))) {
    for (const std::string& der : certificate->chain)
      chain += fmt::format("{}\"{}\"", chain.empty() ? "" : ",", base64_encode(der));
    chain = fmt::format(R"(,"x5c":[{}])", chain);
  }
  const auto seconds = [](SystemTime time) {
    return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
  };
  const auto random = [] { return static_cast<std::uint64_t>(chance() * 1e18); };
  const SystemTime now = context.now();
  const std::string header = fmt::format(R"({{"alg":"RS256","typ":"JWT","x5t":"{}"{}}})",
                                         base64url_encode(certificate->sha1), chain);
  const std::string claims =
      fmt::format(R"({{"aud":{},"iss":{},"sub":{},"jti":"{:016x}{:016x}","nbf":{},"exp":{}}})",
                  quote_json(url.origin + url.path), quote_json(client), quote_json(client),
                  random(), random(), seconds(now), seconds(now + kAssertionLife));
  return make_jwt(header, claims, certificate->private_key).at(path);
}

}  // namespace

TokenAnswer token_from_service_principal(const AzureContext& context, std::string& why_not) {
  const auto tenant = context.environment("AZURE_TENANT_ID");
  const auto client = context.environment("AZURE_CLIENT_ID");
  const auto secret = context.environment("AZURE_CLIENT_SECRET");
  const auto certificate = context.environment("AZURE_CLIENT_CERTIFICATE_PATH");
  if (!tenant || !client || (!secret && !certificate)) {
    why_not = fmt::format("{} is not set", !tenant   ? "AZURE_TENANT_ID"
                                           : !client ? "AZURE_CLIENT_ID"
                                                     : "AZURE_CLIENT_SECRET");
    return std::optional<BearerToken>();
  }
  const HttpUrl url = TRY(token_url(context, *tenant));
  Form form = {{"grant_type", "client_credentials"},
               {"client_id", *client},
               {"scope", std::string(kStorageScope)}};
  if (secret) {
    form.emplace_back("client_secret", *secret);
  } else {
    form.emplace_back("client_assertion_type", kJwtAssertion);
    form.emplace_back("client_assertion",
                      TRY(certificate_assertion(context, url, *client, *certificate)));
  }
  return std::optional(TRY(ask_for_token(
      context, form_request(context, url, std::move(form)),
      fmt::format("the service principal {} ({})", *client, secret ? "secret" : "certificate"))));
}

TokenAnswer token_from_workload_identity(const AzureContext& context, std::string& why_not) {
  const auto tenant = context.environment("AZURE_TENANT_ID");
  const auto client = context.environment("AZURE_CLIENT_ID");
  const auto file = context.environment("AZURE_FEDERATED_TOKEN_FILE");
  if (!tenant || !client || !file) {
    why_not = fmt::format("{} is not set", !file     ? "AZURE_FEDERATED_TOKEN_FILE"
                                           : !tenant ? "AZURE_TENANT_ID"
                                                     : "AZURE_CLIENT_ID");
    return std::optional<BearerToken>();
  }
  const HttpUrl url = TRY(token_url(context, *tenant));
  // Read at every fetch: the cluster replaces it.
  const Secret token = TRY(read_token_file(*file, kMostAssertionBytes));
  return std::optional(
      TRY(ask_for_token(context,
                        form_request(context, url,
                                     {{"grant_type", "client_credentials"},
                                      {"client_id", *client},
                                      {"scope", std::string(kStorageScope)},
                                      {"client_assertion_type", std::string(kJwtAssertion)},
                                      {"client_assertion", std::string(token.reveal())}}),
                        fmt::format("workload identity of {}", *client))));
}

}  // namespace streamer::core::inline auth
