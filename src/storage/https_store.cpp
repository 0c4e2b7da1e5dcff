// SPDX-License-Identifier: Apache-2.0
#include "storage/https_store.hpp"

#include <fmt/format.h>

#include "storage/https_settings.hpp"
#include "storage/s3/dialect.hpp"

namespace streamer::core::inline storage {

namespace {

HttpUrl url_of(const Uri& uri) {
  const std::string_view path = uri.path();
  const std::size_t slash = std::min(path.find('/'), path.size());
  return {uri.scheme() + "://" + std::string(path.substr(0, slash)),
          slash == path.size() ? "/" : std::string(path.substr(slash)), std::string(uri.query())};
}

}  // namespace

Result<std::unique_ptr<Store>> make_https_store(const Settings& settings) {
  auto http = std::make_shared<HttpClient>();
  const RemoteLimits limits = TRY(read_remote_limits(settings));
  HttpsConfig config;
  const Environment environment = process_environment();
  const RemoteConfig from = TRY(RemoteConfig::read(settings, environment));
  config.auth.tls = TRY(from.tls_files());
  config.bearer_token = from.secret(setting::kHttpsBearerToken);
  TRY(check_header_value("https_bearer_token", config.bearer_token.reveal()));
  return std::unique_ptr<Store>(
      std::make_unique<HttpsStore>(std::move(config), limits, std::move(http)));
}

Result<SignedRequest> HttpsStore::make_range_request(const Uri& uri, ByteRange range,
                                                     const std::string& etag) {
  const HttpUrl own = url_of(uri);
  const HttpUrl url = redirects_.target_of(own);
  SignedRequest request;
  request.http.origin = url.origin;
  request.http.path = url.path;
  request.http.query = url.query;
  add_range_headers(request.http.headers, range, etag);
  request.http.route = route_to(url.origin);
  // Only to the host that the URI names, not to the target of a redirect.
  if (!config_.bearer_token.empty() && url.origin == own.origin) {
    if (!keeps_secrets(url.endpoint())) {
      return Error(ErrorKind::invalid_argument,
                   "https_bearer_token is only sent over https, or to this machine")
          .at(uri.text());
    }
    request.http.headers.push_back(
        {"Authorization", "Bearer " + std::string(config_.bearer_token.reveal())});
    request.http.route = context().route_for_secrets(url.endpoint());
  }
  if (log_enabled(LogLevel::trace))
    log_line(LogLevel::trace, fmt::format("GET {}{}", request.http.origin, request.http.path));
  return request;
}

Verdict HttpsStore::judge_answer(const Uri& uri, const SignedRequest& request,
                                 const HttpAnswer& answer) {
  static constexpr CodeRow kNoCode[] = {{"", ErrorKind::internal, ""}};
  const int status = answer.head.status;
  if (is_redirect(status)) return redirects_.follow(url_of(uri), request.http, answer);
  Verdict verdict = failure(request, answer, ServiceError::of(answer),
                            std::span<const CodeRow>(kNoCode).subspan(1));
  verdict.again = again_after_status(status);
  redirects_.renew(url_of(uri), request.http, status, verdict);
  return verdict;
}

void HttpsStore::was_accepted(const Uri& uri, const SignedRequest& request) {
  redirects_.was_accepted(url_of(uri), request.http);
}

Result<bool> HttpsStore::is_folder(const Uri&) {
  return false;
}

Result<SignedRequest> HttpsStore::page_request(const Uri& folder, ListDepth, std::uint64_t,
                                               const std::string&) {
  return Error(ErrorKind::unsupported, "a web server has no listing; name the files")
      .at(folder.text());
}

Result<std::optional<Page>> HttpsStore::read_page(const Uri&, const HttpAnswer&) {
  return std::optional<Page>();
}

Result<RemoteWay> HttpsStore::way_to(const Uri& uri) {
  return RemoteWay{.origin = url_of(uri).origin, .endpoint_source = "the URL", .facts = {}};
}

Result<std::string> HttpsStore::describe_credentials(const Uri& uri) {
  if (!config_.bearer_token.empty()) return std::string("the setting https_bearer_token");
  return std::string(uri.query().empty() ? "none" : "only those that the URL itself carries");
}

}  // namespace streamer::core::inline storage
