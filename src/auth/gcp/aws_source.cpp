// SPDX-License-Identifier: Apache-2.0 AWS as the identity provider of workload identity federation:
// a request to STS, signed with AWS' keys but not sent, with which Google asks AWS for the caller's
// identity.
#include <fmt/format.h>

#include "auth/aws/context.hpp"
#include "auth/aws/sigv4.hpp"
#include "auth/gcp/context.hpp"
#include "base/json.hpp"
#include "base/text.hpp"

namespace streamer::core::inline auth {

namespace {

constexpr std::size_t kMostAnswerBytes = 64 * 1024;

// The instance metadata service, at the addresses that the file gives.
class Metadata {
 public:
  Metadata(const GcpContext& context, const GoogleFile& file) : context_(context), file_(file) {}

  Result<std::string> get(std::string_view what, const std::string& url) {
    if (url.empty()) {
      return Error(ErrorKind::invalid_argument,
                   fmt::format("credential_source has no {}, and the environment does not give it "
                               "either (AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)",
                               what))
          .at(file_.path);
    }
    std::vector<HttpHeader> headers;
    if (!file_.source.session_token_url.empty()) {
      if (token_.empty()) {
        token_ =
            Secret(TRY(ask_for("PUT", "imdsv2_session_token_url", file_.source.session_token_url,
                               {{"X-aws-ec2-metadata-token-ttl-seconds", "300"}})));
      }
      headers.push_back({"X-aws-ec2-metadata-token", std::string(token_.reveal())});
    }
    return ask_for("GET", what, url, std::move(headers));
  }

 private:
  Result<std::string> ask_for(const char* method, std::string_view what, const std::string& text,
                              std::vector<HttpHeader> headers) const {
    const HttpUrl url = TRY(parse_url(text).at(file_.path));
    HttpRequest request;
    request.method = method;
    request.origin = url.origin;
    request.path = url.path;
    request.query = url.query;
    request.headers = std::move(headers);
    request.route = context_.route_past_proxies();
    TransferOptions options;
    options.connect_timeout = options.total_timeout = Milliseconds(5000);
    options.kept_bytes = kMostAnswerBytes;
    const HttpAnswer answer = TRY(ask(context_, request, options, 3));
    const std::string body(trim(answer.body));
    if (answer.head.status == 200 && !body.empty()) {
      TRY(check_header_value(what, body));
      return body;
    }
    return Error(ErrorKind::permission_denied,
                 fmt::format("{} ({}) answered {}{}", what, request.host(), answer.head.status,
                             answer.head.status == 200 ? " and nothing" : ""))
        .at(file_.path);
  }

  const GcpContext& context_;
  const GoogleFile& file_;
  Secret token_;
};

// As in Google's libraries: the environment's keys, or else those of the instance's role. Profiles
// are ignored.
Result<AwsCredentials> aws_keys(const GcpContext& context, const GoogleFile& file,
                                Metadata& metadata) {
  const auto id = context.environment("AWS_ACCESS_KEY_ID");
  const auto secret = context.environment("AWS_SECRET_ACCESS_KEY");
  if (id && secret) {
    AwsCredentials keys{
        .access_key_id = *id,
        .secret_access_key = Secret(*secret),
        .session_token = Secret(context.environment("AWS_SESSION_TOKEN").value_or("")),
        .expires = {},
        .source = "the environment"};
    TRY(check_credentials(keys));
    return keys;
  }
  const std::string role = TRY(metadata.get("url", file.source.url));
  const std::string answer = TRY(
      metadata.get("url", fmt::format("{}/{}", file.source.url, percent_encode(role, "/+=,@"))));
  return read_json_credentials(answer,
                               {.object = "",
                                .id = "AccessKeyId",
                                .secret = "SecretAccessKey",
                                .token = "Token",
                                .expiration = "Expiration"},
                               fmt::format("the instance's role {}", role));
}

Result<std::string> aws_region(const GcpContext& context, const GoogleFile& file,
                               Metadata& metadata) {
  for (const char* const variable : {"AWS_REGION", "AWS_DEFAULT_REGION"}) {
    if (const auto region = context.environment(variable)) return *region;
  }
  // "us-east-2b": the zone, whose last letter is its own.
  std::string zone = TRY(metadata.get("region_url", file.source.region_url));
  zone.pop_back();
  return zone;
}

std::string with_region(std::string url, std::string_view region) {
  constexpr std::string_view kPlace = "{region}";
  for (std::size_t at = 0; (at = url.find(kPlace, at)) != std::string::npos; at += region.size())
    url.replace(at, kPlace.size(), region);
  return url;
}

}  // namespace

Result<Secret> subject_token_from_aws(const GcpContext& context, const GoogleFile& file) {
  if (file.source.environment_id != "aws1" || file.source.verification_url.empty()) {
    return Error(
               ErrorKind::unsupported,
               fmt::format(
                   "credential_source is for AWS, but environment_id is {} and "
                   "regional_cred_verification_url is {}; only aws1 is supported, with such a URL",
                   quote_json(file.source.environment_id),
                   file.source.verification_url.empty() ? "missing" : "there"))
        .at(file.path);
  }
  Metadata metadata(context, file);
  const std::string region = TRY(aws_region(context, file, metadata));
  if (!is_region(region)) {
    return Error(ErrorKind::invalid_argument,
                 fmt::format(
                     "\"{}\" is not an AWS region (AWS_REGION, AWS_DEFAULT_REGION, region_url)",
                     region.substr(0, 80)))
        .at(file.path);
  }
  const AwsCredentials keys = TRY(aws_keys(context, file, metadata));
  const HttpUrl url = TRY(parse_secret_url("regional_cred_verification_url",
                                           with_region(file.source.verification_url, region))
                              .at(file.path));
  HttpRequest request;
  request.method = "POST";
  request.origin = url.origin;
  request.path = url.path;
  request.query = url.query;
  request.headers = {{"x-goog-cloud-target-resource", file.audience}};
  TRY(check_header_value("audience", file.audience).at(file.path));
  SigV4Signer().sign(request, keys, {region, "sts"}, context.now());
  std::string headers = fmt::format(R"({{"key":"host","value":{}}})", quote_json(request.host()));
  for (const HttpHeader& header : request.headers)
    headers += fmt::format(R"(,{{"key":{},"value":{}}})", quote_json(header.name),
                           quote_json(header.value));
  return Secret(percent_encode(fmt::format(R"({{"url":{},"method":"POST","headers":[{}]}})",
                                           quote_json(request.url()), headers),
                               "/"));
}

}  // namespace streamer::core::inline auth
