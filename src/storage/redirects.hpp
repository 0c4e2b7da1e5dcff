// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where the hosts of URLs redirect to: often a CDN, with a signed URL that is valid for a while.

#include <cstdint>
#include <map>
#include <string>

#include "base/guarded.hpp"
#include "http/request.hpp"
#include "storage/remote_store.hpp"

namespace streamer::core::inline storage {

[[nodiscard]] bool is_redirect(int status) noexcept;
[[nodiscard]] bool is_to(const HttpRequest& request, const HttpUrl& url);

// Remembers the target of each URL, so that only the first request for it is redirected. `own` is
// always the URL that was to be read, before any redirect. Thread-safe.
class Redirects {
 public:
  // Where to ask: own itself, or where it was sent last.
  [[nodiscard]] HttpUrl target_of(const HttpUrl& own);

  // What an answer means that redirects the request: at_once, or never with an error. Such an
  // attempt is not a failure.
  [[nodiscard]] Verdict follow(const HttpUrl& own, const HttpRequest& request,
                               const HttpAnswer& answer);

  // After an answer of 400 or more to a request for own: if its signed URL may have expired, own
  // itself is asked for another one, as often as that helps; the verdict says so, or why not.
  void renew(const HttpUrl& own, const HttpRequest& request, int status, Verdict& verdict);

  // The head of an answer has been accepted.
  void was_accepted(const HttpUrl& own, const HttpRequest& request);

 private:
  struct Redirect {
    HttpUrl url;
    std::uint32_t hops = 0;              // 0: own must be asked
    bool has_served = false;             // the URL has brought bytes
    std::uint32_t useless_renewals = 0;  // in a row, to URLs that did not serve at all
  };

  Guarded<std::map<std::string, Redirect>> by_own_;
};

}  // namespace streamer::core::inline storage
