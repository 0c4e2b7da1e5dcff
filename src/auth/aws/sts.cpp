// SPDX-License-Identifier: Apache-2.0
// Roles, through the Security Token Service (API version 2011-06-15), and web identity on top of
// it.
#include <fmt/format.h>

#include "auth/aws/context.hpp"
#include "auth/aws/sigv4.hpp"
#include "base/text.hpp"
#include "base/xml.hpp"

namespace streamer::core::inline auth {

namespace {

constexpr std::uint32_t kStsAttempts = 3;
constexpr std::size_t kMostWebTokenBytes = 64 * 1024;

Result<AwsEndpoint> sts_endpoint(const AwsContext& context, const AwsConfig& config) {
  std::string region = context.region;
  for (const char* const variable : {"AWS_REGION", "AWS_DEFAULT_REGION"}) {
    if (region.empty()) region = context.environment(variable).value_or("");
  }
  if (region.empty()) region = config.value("region").value_or("");
  return aws_endpoint(context, config, AwsService::sts, region);
}

std::string session_name(const AwsContext& context, const AssumedRole& role) {
  if (!role.session_name.empty()) return role.session_name;
  return fmt::format("libstreamer-{}", context.now().time_since_epoch() / std::chrono::seconds(1));
}

// The service's error code; the rest of its answer is not shown.
Error sts_error(const HttpAnswer& answer, const AwsEndpoint& sts, std::string_view action) {
  std::string code;
  std::string message;
  if (const auto root = read_xml(answer.body)) {
    const XmlElement* const error = root->name == "Error" ? &*root : root->child("Error");
    if (error != nullptr) {
      code = error->text_of("Code");
      message = error->text_of("Message");
    }
  }
  ErrorFields fields;
  const bool is_expired = code == "ExpiredToken" || code == "ExpiredTokenException";
  fields.kind = is_expired ? ErrorKind::credentials_expired : ErrorKind::permission_denied;
  fields.http_status = answer.head.status;
  fields.service_code = code;
  fields.host = sts.endpoint.host_and_port();
  fields.message =
      fmt::format("{}: {} was answered with {} {}{}{}", fields.host, action, answer.head.status,
                  code, message.empty() ? "" : ": ", message.substr(0, 300));
  return Error(std::move(fields));
}

struct StsCall {
  std::string action;
  std::vector<std::pair<std::string, std::string>> parameters;
  const AwsCredentials* signed_with = nullptr;  // nullptr: not signed
};

Result<AwsCredentials> call_sts(const AwsContext& context, const AwsConfig& config, StsCall call) {
  const AwsEndpoint sts = TRY(sts_endpoint(context, config));
  call.parameters.emplace_back("Action", call.action);
  call.parameters.emplace_back("Version", "2011-06-15");
  HttpRequest request;
  request.method = "POST";
  request.origin = sts.endpoint.origin;
  request.path = sts.endpoint.base_path + "/";
  request.headers = {{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"}};
  request.body = canonical_query(std::move(call.parameters));
  request.route = context.route_to(sts.endpoint);
  if (call.signed_with != nullptr)
    SigV4Signer().sign(request, *call.signed_with, {sts.region, "sts"}, context.now());
  TransferOptions options;
  options.connect_timeout = Milliseconds(2000);
  const HttpAnswer answer = TRY(ask(context, request, options, kStsAttempts));
  if (answer.head.status != 200) return sts_error(answer, sts, call.action);
  const auto root = read_xml(answer.body);
  const XmlElement* result = root ? root->child(call.action + "Result") : nullptr;
  const XmlElement* found = result == nullptr ? nullptr : result->child("Credentials");
  if (found == nullptr) {
    return Error(ErrorKind::permission_denied,
                 fmt::format("{}: the answer to {} holds no credentials",
                             sts.endpoint.host_and_port(), call.action));
  }
  AwsCredentials credentials{
      .access_key_id = std::string(found->text_of("AccessKeyId")),
      .secret_access_key = Secret(std::string(found->text_of("SecretAccessKey"))),
      .session_token = Secret(std::string(found->text_of("SessionToken"))),
      .expires = parse_iso(found->text_of("Expiration")),
      .source = {}};
  TRY(check_credentials(credentials));
  return credentials;
}

}  // namespace

Result<AwsCredentials> assume_role(const AwsContext& context, const AssumedRole& role,
                                   const AwsCredentials& base) {
  const AwsConfig config = TRY(AwsConfig::read(context.environment, context.profile));
  StsCall call{.action = "AssumeRole",
               .parameters = {{"RoleArn", role.arn},
                              {"RoleSessionName", session_name(context, role)},
                              {"DurationSeconds", std::to_string(role.duration_s)}},
               .signed_with = &base};
  if (!role.external_id.empty()) call.parameters.emplace_back("ExternalId", role.external_id);
  AwsCredentials credentials = TRY(call_sts(context, config, std::move(call)));
  credentials.source = fmt::format("role {} assumed with {}", role.arn, base.source);
  return credentials;
}

Result<AwsCredentials> assume_role_with_web_identity(const AwsContext& context,
                                                     const AssumedRole& role,
                                                     const std::string& token_file) {
  const AwsConfig config = TRY(AwsConfig::read(context.environment, context.profile));
  // Twice: the token in the file may have expired just before the file was replaced.
  for (int attempt = 1;; ++attempt) {
    const Secret token = TRY(read_token_file(token_file, kMostWebTokenBytes));
    auto credentials =
        call_sts(context, config,
                 {.action = "AssumeRoleWithWebIdentity",
                  .parameters = {{"RoleArn", role.arn},
                                 {"RoleSessionName", session_name(context, role)},
                                 {"DurationSeconds", std::to_string(role.duration_s)},
                                 {"WebIdentityToken", std::string(token.reveal())}}});
    if (credentials) {
      credentials->source = fmt::format("web identity, role {}", role.arn);
      return credentials;
    }
    const std::string& code = credentials.error().fields().service_code;
    const bool may_pass = code == "ExpiredTokenException" || code == "IDPCommunicationError" ||
                          code == "InvalidIdentityToken";
    if (!may_pass || attempt == 2) return credentials;
  }
}

AwsAnswer web_identity_of_profile(const AwsContext& context, const AwsConfig& config,
                                  const std::string& profile, bool only_profile) {
  const auto find = [&](const char* variable, std::string_view key) {
    auto value = only_profile ? std::nullopt : context.environment(variable);
    return value ? value : config.value(profile, key);
  };
  const auto token_file = find("AWS_WEB_IDENTITY_TOKEN_FILE", "web_identity_token_file");
  if (!token_file) return std::optional<AwsCredentials>();
  const auto role = find("AWS_ROLE_ARN", "role_arn");
  if (!role) {
    return Error(ErrorKind::invalid_argument,
                 fmt::format("there is a web identity token ({}) but no role to assume with it; "
                             "set AWS_ROLE_ARN, or role_arn in profile \"{}\"",
                             *token_file, profile));
  }
  const AssumedRole assumed{
      .arn = *role,
      .session_name = find("AWS_ROLE_SESSION_NAME", "role_session_name").value_or(""),
      .external_id = {}};
  return std::optional(TRY(assume_role_with_web_identity(context, assumed, *token_file)));
}

AwsAnswer credentials_from_web_identity(const AwsContext& context, std::string& why_not) {
  const AwsConfig config = TRY(AwsConfig::read(context.environment, context.profile));
  auto found =
      TRY(web_identity_of_profile(context, config, config.profile(), !context.profile.empty()));
  if (!found) why_not = "AWS_WEB_IDENTITY_TOKEN_FILE is not set";
  return found;
}

}  // namespace streamer::core::inline auth
