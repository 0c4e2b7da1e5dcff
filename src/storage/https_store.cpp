// SPDX-License-Identifier: Apache-2.0
#include "storage/https_store.hpp"

#include <fmt/format.h>

#include "storage/https_settings.hpp"
#include "storage/s3/dialect.hpp"

namespace streamer::core::inline storage {

namespace {

constexpr std::uint32_t kMostHops = 5;
// A URL that never works ends the load; but of many requests at the same time, the first answer may
// be to one that was sent too late.
constexpr std::uint32_t kMostUselessRenewals = 3;

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 307 || status == 308;
}

bool is_to(const HttpRequest& request, const HttpUrl& url) {
  return request.origin == url.origin && request.path == url.path && request.query == url.query;
}

std::string name_of(const Uri& uri) {
  return fmt::format("{}?{}", uri.text(), uri.query());
}

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

HttpsStore::Redirect HttpsStore::redirect_of(const Uri& uri) {
  return redirects_.with([&](const auto& redirects) {
    const auto found = redirects.find(name_of(uri));
    return found == redirects.end() ? Redirect() : found->second;
  });
}

Result<SignedRequest> HttpsStore::range_request(const Uri& uri, ByteRange range,
                                                const std::string& etag) {
  const HttpUrl own = url_of(uri);
  const Redirect redirect = redirect_of(uri);
  const HttpUrl& url = redirect.hops == 0 ? own : redirect.url;
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
  }
  if (log_enabled(LogLevel::trace))
    log_line(LogLevel::trace, fmt::format("GET {}{}", request.http.origin, request.http.path));
  return request;
}

// Remembers the target of the redirect, if it may be followed.
Again HttpsStore::follow(const Uri& uri, const SignedRequest& request, const HttpAnswer& answer) {
  const HttpUrl from{request.http.origin, request.http.path, request.http.query};
  const auto to = resolve_location(from, answer.head.header_or_empty("location"));
  // A redirect from https to http would expose what is read.
  if (!to || (request.http.is_tls() && !to->endpoint().is_tls())) return Again::never;
  return redirects_.with([&](auto& redirects) {
    Redirect& redirect = redirects[name_of(uri)];
    // Another reader may have followed the redirect already.
    const bool is_news = redirect.hops == 0 ? true
                                            : redirect.url.origin == from.origin &&
                                                  redirect.url.path == from.path &&
                                                  redirect.url.query == from.query;
    if (!is_news) return Again::at_once;
    if (redirect.hops >= kMostHops) return Again::never;
    redirect.url = *to;
    ++redirect.hops;
    redirect.has_served = false;
    return Again::at_once;
  });
}

Verdict HttpsStore::judge_answer(const Uri& uri, const SignedRequest& request,
                                 const HttpAnswer& answer) {
  static constexpr CodeRow kNoCode[] = {{"", ErrorKind::internal, ""}};
  const int status = answer.head.status;
  Verdict verdict = failure(request, answer, ServiceError::of(answer),
                            std::span<const CodeRow>(kNoCode).subspan(1));
  verdict.again = again_after_status(status);
  if (is_redirect(status)) {
    verdict.again = follow(uri, request, answer);
    if (verdict.again == Again::never) {
      verdict.error =
          Error(ErrorKind::io, fmt::format("{} redirects to where no request may follow: not over "
                                           "https, not a URL, or more than {} times",
                                           request.http.host(), kMostHops));
    }
    verdict.counts = verdict.again == Again::never;
    return verdict;
  }
  // A URL of a CDN may have expired: the host is asked for another one, as often as that helps.
  const bool may_have_expired = status == 401 || status == 403 || status == 404 || status == 410;
  if (!may_have_expired || is_to(request.http, url_of(uri))) return verdict;
  const bool is_useless = redirects_.with([&](auto& redirects) {
    Redirect& redirect = redirects[name_of(uri)];
    // Another reader has already asked for a new one, or is about to.
    if (redirect.hops == 0 || !is_to(request.http, redirect.url)) return false;
    if (redirect.has_served) redirect.useless_renewals = 0;
    redirect.hops = 0;
    return !redirect.has_served && ++redirect.useless_renewals > kMostUselessRenewals;
  });
  if (!is_useless) {
    verdict.again = Again::at_once;
    verdict.counts = false;
    return verdict;
  }
  ErrorFields fields = verdict.error.fields();
  fields.message = fmt::format(
      "{}; this is the URL that {} gave just now, and new ones were refused {} times in a row: the "
      "two do not agree on what may be read, or their clocks differ",
      fields.message, url_of(uri).origin, kMostUselessRenewals);
  verdict.error = Error(std::move(fields));
  return verdict;
}

void HttpsStore::was_accepted(const Uri& uri, const SignedRequest& request) {
  redirects_.with([&](auto& redirects) {
    const auto found = redirects.find(name_of(uri));
    if (found == redirects.end() || is_to(request.http, url_of(uri))) return;
    // Perhaps through an older URL; that, too, shows that the host's URLs work.
    found->second.useless_renewals = 0;
    if (is_to(request.http, found->second.url)) found->second.has_served = true;
  });
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
