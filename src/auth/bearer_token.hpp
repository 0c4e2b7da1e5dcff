// SPDX-License-Identifier: Apache-2.0
#pragma once
// Bearer tokens, and the endpoints that issue them (OAuth 2.0, RFC 6749).

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "auth/auth_context.hpp"

namespace streamer::core::inline auth {

struct BearerToken {
  Secret token;
  std::optional<SystemTime> expires = {};
  std::string source = {};         // for people
  std::string quota_project = {};  // of Google: who is charged; empty: whom the token belongs to
  std::string universe = {};       // of Google: whose hosts it is for; empty: not known

  [[nodiscard]] bool same_keys(const BearerToken& other) const noexcept {
    return token == other.token;
  }
};

// "from SOURCE, until TIME".
[[nodiscard]] std::string describe(const BearerToken& token);

// A source's answer, as for AWS: nullopt says that it is not configured, why_not what is missing.
using TokenAnswer = Result<std::optional<BearerToken>>;

// The URL of a service that receives secrets. Fails if they would be sent unencrypted.
Result<HttpUrl> parse_secret_url(std::string_view what, std::string_view text);

// POST of a form.
using Form = std::vector<std::pair<std::string, std::string>>;
[[nodiscard]] HttpRequest form_request(const AuthContext& context, const HttpUrl& url, Form form);

// Sends the request, up to three times, and reads the token of its answer: access_token, expires_in
// (seconds) or expires_on (seconds since 1970), as numbers or texts. permission_denied with what
// the service says, if it says no.
Result<BearerToken> ask_for_token(const AuthContext& context, const HttpRequest& request,
                                  std::string source);

// The same from an answer that is there.
Result<BearerToken> read_token_answer(const AuthContext& context, const HttpRequest& request,
                                      const HttpAnswer& answer, std::string source);

// "HEADER.CLAIMS.SIGNATURE" (RFC 7519) of two JSON texts, signed with RS256.
Result<std::string> make_jwt(std::string_view header, std::string_view claims,
                             const Secret& private_key);

}  // namespace streamer::core::inline auth
