// SPDX-License-Identifier: Apache-2.0 The instance metadata service of EC2, version 2 only:
// requests without its token, such as those that this machine is tricked into sending, get nothing.
#include <fmt/format.h>

#include "auth/aws/context.hpp"
#include "base/chance.hpp"
#include "base/log.hpp"
#include "base/text.hpp"

namespace streamer::core::inline auth {

namespace {

constexpr std::size_t kMostImdsAnswerBytes = 65'535;
constexpr std::string_view kRoles = "/latest/meta-data/iam/security-credentials/";

class Imds {
 public:
  static Result<Imds> make(const AwsContext& context) {
    Imds imds(context);
    const std::string mode =
        to_lower(context.environment("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE").value_or("ipv4"));
    const char* const usual = mode == "ipv6" ? "http://[fd00:ec2::254]" : "http://169.254.169.254";
    imds.endpoint_ = TRY(
        parse_endpoint(context.environment("AWS_EC2_METADATA_SERVICE_ENDPOINT").value_or(usual)));
    const auto number = [&](const char* variable, std::uint64_t otherwise) {
      const auto value = parse_unsigned(context.environment(variable).value_or(""));
      return value && *value != 0 ? *value : otherwise;
    };
    imds.timeout_ = std::chrono::seconds(number("AWS_METADATA_SERVICE_TIMEOUT", 1));
    imds.attempts_ = static_cast<std::uint32_t>(number("AWS_METADATA_SERVICE_NUM_ATTEMPTS", 1));
    return imds;
  }

  const Endpoint& endpoint() const { return endpoint_; }

  // The session that every other request needs.
  Result<HttpAnswer> open() {
    HttpAnswer answer =
        TRY(send("PUT", "/latest/api/token", {"x-aws-ec2-metadata-token-ttl-seconds", "21600"}));
    if (answer.head.status == 200) {
      token_ = Secret(std::string(trim(answer.body)));
      TRY(check_header_value("the metadata token", token_.reveal()));
    }
    return answer;
  }

  Result<HttpAnswer> get(const std::string& path) {
    return send("GET", path, {"x-aws-ec2-metadata-token", std::string(token_.reveal())});
  }

 private:
  explicit Imds(const AwsContext& context) : context_(&context) {}

  Result<HttpAnswer> send(const char* method, const std::string& path, HttpHeader header) const {
    HttpRequest request;
    request.method = method;
    request.origin = endpoint_.origin;
    request.path = endpoint_.base_path + path;
    request.headers = {std::move(header)};
    request.route = context_->route_past_proxies();
    TransferOptions options;
    options.connect_timeout = options.total_timeout = timeout_;
    options.kept_bytes = kMostImdsAnswerBytes;
    return ask(*context_, request, options, attempts_);
  }

  const AwsContext* context_;
  Endpoint endpoint_;
  Milliseconds timeout_{1000};
  std::uint32_t attempts_ = 1;
  Secret token_;
};

// IMDS may return expired keys while its own backend is down; they often still work (AWS' "static
// stability"), so they are used, and requested again soon.
void prolong_expired(AwsCredentials& credentials, SystemTime now) {
  if (!credentials.expires || *credentials.expires > now) return;
  log_line(LogLevel::warning,
           "the instance metadata service returned credentials that have expired; using them and "
           "asking again in a few minutes");
  credentials.expires =
      now + std::chrono::minutes(11) + std::chrono::seconds(static_cast<int>(480 * chance()));
}

}  // namespace

AwsAnswer credentials_from_imds(const AwsContext& context, std::string& why_not) {
  if (to_lower(context.environment("AWS_EC2_METADATA_DISABLED").value_or("")) == "true") {
    why_not = "AWS_EC2_METADATA_DISABLED is true";
    return std::optional<AwsCredentials>();
  }
  Imds imds = TRY(Imds::make(context));
  const auto opened = imds.open();
  if (!opened) {
    why_not = fmt::format(
        "no answer from {} (in a container on EC2, the hop limit of its PUT responses must be 2)",
        imds.endpoint().host_and_port());
    return std::optional<AwsCredentials>();
  }
  if (opened->head.status != 200) {
    why_not = fmt::format("{} refused a version 2 session with {}", imds.endpoint().host_and_port(),
                          opened->head.status);
    return std::optional<AwsCredentials>();
  }
  const HttpAnswer roles = TRY(imds.get(std::string(kRoles)));
  const std::string_view role = trim(std::string_view(roles.body).substr(0, roles.body.find('\n')));
  if (roles.head.status == 404 || (roles.head.status == 200 && role.empty())) {
    why_not = "the instance has no role";
    return std::optional<AwsCredentials>();
  }
  if (roles.head.status != 200) {
    return Error(ErrorKind::permission_denied,
                 fmt::format("the instance metadata service answered {} to the list of roles",
                             roles.head.status));
  }
  const HttpAnswer answer = TRY(imds.get(std::string(kRoles) + percent_encode(role, "/+=,@")));
  if (answer.head.status != 200) {
    return Error(ErrorKind::permission_denied,
                 fmt::format("the instance metadata service answered {} to role {}",
                             answer.head.status, role));
  }
  AwsCredentials credentials =
      TRY(read_json_credentials(answer.body,
                                {.object = "",
                                 .id = "AccessKeyId",
                                 .secret = "SecretAccessKey",
                                 .token = "Token",
                                 .expiration = "Expiration"},
                                fmt::format("the instance's role {}", role)));
  prolong_expired(credentials, context.now());
  return std::optional(std::move(credentials));
}

std::optional<std::string> region_from_imds(const AwsContext& context) {
  if (to_lower(context.environment("AWS_EC2_METADATA_DISABLED").value_or("")) == "true")
    return std::nullopt;
  auto imds = Imds::make(context);
  if (!imds) return std::nullopt;
  const auto opened = imds->open();
  if (!opened || opened->head.status != 200) return std::nullopt;
  const auto answer = imds->get("/latest/meta-data/placement/region");
  if (!answer || answer->head.status != 200) return std::nullopt;
  return std::string(trim(answer->body));
}

}  // namespace streamer::core::inline auth
