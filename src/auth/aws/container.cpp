// SPDX-License-Identifier: Apache-2.0
// The credentials endpoint of ECS tasks and EKS pods.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "auth/aws/context.hpp"

namespace streamer::core::inline auth {

namespace {

constexpr std::size_t kMostContainerAnswerBytes = 10'000;
constexpr std::size_t kMostContainerTokenBytes = 10'000;

// The hosts that may be asked for credentials without TLS: this machine, and the link-local
// addresses of ECS and EKS.
bool may_be_plain(std::string_view address) {
  constexpr std::array<std::string_view, 4> kAllowed = {"::1", "169.254.170.2", "169.254.170.23",
                                                        "fd00:ec2::23"};
  return address.starts_with("127.") ||
         std::find(kAllowed.begin(), kAllowed.end(), address) != kAllowed.end();
}

// The address to connect to, checked now, so that the name cannot resolve to another one later.
// Empty for TLS, which verifies the server itself.
Result<std::string> checked_address(const AwsContext& context, const Endpoint& endpoint) {
  if (endpoint.is_tls()) return std::string();
  const std::string host(endpoint.host());
  const std::vector<std::string> addresses =
      is_ip_address(host) ? std::vector{host} : context.resolver(host);
  const bool all_allowed =
      !addresses.empty() && std::all_of(addresses.begin(), addresses.end(), may_be_plain);
  if (all_allowed) return addresses[0];
  return Error(ErrorKind::permission_denied,
               fmt::format("AWS_CONTAINER_CREDENTIALS_FULL_URI names {} over http: without TLS "
                           "only loopback, 169.254.170.2, 169.254.170.23 and fd00:ec2::23 may be "
                           "asked for credentials",
                           host));
}

Result<Secret> authorization(const AwsContext& context) {
  if (const auto file = context.environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"))
    return read_token_file(*file, kMostContainerTokenBytes);
  Secret token(context.environment("AWS_CONTAINER_AUTHORIZATION_TOKEN").value_or(""));
  TRY(check_header_value("AWS_CONTAINER_AUTHORIZATION_TOKEN", token.reveal()));
  return token;
}

}  // namespace

AwsAnswer credentials_from_container(const AwsContext& context, std::string& why_not) {
  const auto relative = context.environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
  const auto full = context.environment("AWS_CONTAINER_CREDENTIALS_FULL_URI");
  if (!relative && !full) {
    why_not = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and _FULL_URI are not set";
    return std::optional<AwsCredentials>();
  }
  std::string url = relative ? "http://169.254.170.2" + *relative : *full;
  std::string query;
  if (const std::size_t mark = url.find('?'); mark != std::string::npos) {
    query = url.substr(mark + 1);
    url.resize(mark);
  }
  const Endpoint endpoint = TRY(parse_endpoint(url));
  HttpRequest request;
  request.origin = endpoint.origin;
  request.path = endpoint.base_path.empty() ? "/" : endpoint.base_path;
  request.query = query;
  request.headers = {{"Accept", "application/json"}};
  const Secret token = TRY(authorization(context));
  if (!token.empty()) request.headers.push_back({"Authorization", std::string(token.reveal())});
  request.route = context.route_past_proxies();
  TransferOptions options;
  options.address = TRY(checked_address(context, endpoint));
  options.connect_timeout = options.total_timeout = Milliseconds(2000);
  options.kept_bytes = kMostContainerAnswerBytes;
  const HttpAnswer answer = TRY(ask(context, request, options, 3));
  if (answer.head.status != 200) {
    return Error(ErrorKind::permission_denied,
                 fmt::format("{}: the container's credentials were refused with {}",
                             endpoint.host_and_port(), answer.head.status));
  }
  return std::optional(TRY(read_json_credentials(answer.body,
                                                 {.object = "",
                                                  .id = "AccessKeyId",
                                                  .secret = "SecretAccessKey",
                                                  .token = "Token",
                                                  .expiration = "Expiration"},
                                                 "the container endpoint")));
}

}  // namespace streamer::core::inline auth
