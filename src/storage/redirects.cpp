// SPDX-License-Identifier: Apache-2.0
#include "storage/redirects.hpp"

#include <fmt/format.h>

namespace streamer::core::inline storage {

namespace {

constexpr std::uint32_t kMostHops = 5;
// A URL that never works ends the load; but of many requests at the same time, the first answer may
// be to one that was sent too late.
constexpr std::uint32_t kMostUselessRenewals = 3;

std::string name_of(const HttpUrl& own) {
  return fmt::format("{}{}?{}", own.origin, own.path, own.query);
}

}  // namespace

bool is_redirect(int status) noexcept {
  return status == 301 || status == 302 || status == 307 || status == 308;
}

bool is_to(const HttpRequest& request, const HttpUrl& url) {
  return request.origin == url.origin && request.path == url.path && request.query == url.query;
}

HttpUrl Redirects::target_of(const HttpUrl& own) {
  return by_own_.with([&](const auto& redirects) {
    const auto found = redirects.find(name_of(own));
    return found == redirects.end() || found->second.hops == 0 ? own : found->second.url;
  });
}

Verdict Redirects::follow(const HttpUrl& own, const HttpRequest& request,
                          const HttpAnswer& answer) {
  const HttpUrl from{request.origin, request.path, request.query};
  const auto to = resolve_location(from, answer.head.header_or_empty("location"));
  // A redirect from https to http would expose what is read.
  const bool may_follow = to && (!request.is_tls() || to->endpoint().is_tls());
  const bool follows = may_follow && by_own_.with([&](auto& redirects) {
    Redirect& redirect = redirects[name_of(own)];
    // Another reader may have followed the redirect already.
    if (redirect.hops != 0 && !is_to(request, redirect.url)) return true;
    if (redirect.hops >= kMostHops) return false;
    redirect.url = *to;
    ++redirect.hops;
    redirect.has_served = false;
    return true;
  });
  if (follows) {
    return {.again = Again::at_once,
            .counts = false,
            .error = Error(ErrorKind::io, fmt::format("{} redirects", request.host()))};
  }
  return {.error = Error(ErrorKind::io,
                         fmt::format("{} redirects to where no request may follow: not over "
                                     "https, not a URL, or more than {} times",
                                     request.host(), kMostHops))};
}

void Redirects::renew(const HttpUrl& own, const HttpRequest& request, int status,
                      Verdict& verdict) {
  const bool may_have_expired = status == 401 || status == 403 || status == 404 || status == 410;
  if (!may_have_expired || is_to(request, own)) return;
  const bool is_useless = by_own_.with([&](auto& redirects) {
    Redirect& redirect = redirects[name_of(own)];
    // Another reader has already asked for a new one, or is about to.
    if (redirect.hops == 0 || !is_to(request, redirect.url)) return false;
    if (redirect.has_served) redirect.useless_renewals = 0;
    redirect.hops = 0;
    return !redirect.has_served && ++redirect.useless_renewals > kMostUselessRenewals;
  });
  if (!is_useless) {
    verdict.again = Again::at_once;
    verdict.counts = false;
    return;
  }
  ErrorFields fields = verdict.error.fields();
  fields.message = fmt::format(
      "{}; this is the URL that {} gave just now, and new ones were refused {} times in a row: the "
      "two do not agree on what may be read, or their clocks differ",
      fields.message, own.origin, kMostUselessRenewals);
  verdict.error = Error(std::move(fields));
}

void Redirects::was_accepted(const HttpUrl& own, const HttpRequest& request) {
  by_own_.with([&](auto& redirects) {
    const auto found = redirects.find(name_of(own));
    if (found == redirects.end() || is_to(request, own)) return;
    // Perhaps through an older URL; that, too, shows that the host's URLs work.
    found->second.useless_renewals = 0;
    if (is_to(request, found->second.url)) found->second.has_served = true;
  });
}

}  // namespace streamer::core::inline storage
