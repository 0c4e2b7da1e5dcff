// SPDX-License-Identifier: Apache-2.0
#include "auth/bearer_token.hpp"

#include <fmt/format.h>

#include "base/crypto.hpp"
#include "base/rs256.hpp"
#include "base/text.hpp"

namespace streamer::core::inline auth {

namespace {

constexpr std::size_t kMostTokenAnswerBytes = 64 * 1024;
constexpr std::uint32_t kTokenAttempts = 3;

Error refused(const HttpRequest& request, const HttpAnswer& answer, std::string_view source) {
  ErrorFields fields;
  fields.kind = ErrorKind::permission_denied;
  fields.http_status = answer.head.status;
  fields.host = request.host();
  std::string message;
  if (const auto members = read_flat_json(answer.body)) {
    fields.service_code = text_of(*members, "error").substr(0, 100);
    message = text_of(*members, "error_description").substr(0, 300);
  }
  fields.message = fmt::format("{}: {} answered {}{}{}{}{}", source, fields.host,
                               answer.head.status, fields.service_code.empty() ? "" : " ",
                               fields.service_code, message.empty() ? "" : ": ", message);
  if (fields.service_code == "invalid_grant")
    fields.message +=
        "; the credentials were revoked or have expired, or this machine's clock is off";
  return Error(std::move(fields));
}

}  // namespace

std::string describe(const BearerToken& token) {
  std::string text = "from " + token.source;
  if (token.expires) text += ", until " + format_iso(*token.expires);
  return text;
}

Result<HttpUrl> parse_secret_url(std::string_view what, std::string_view text) {
  const HttpUrl url = TRY(parse_url(text));
  if (keeps_secrets(url.endpoint())) return url;
  return Error(ErrorKind::invalid_argument,
               fmt::format("{} is http://{}: secrets are only sent over https, or to this machine",
                           what, url.endpoint().host_and_port()));
}

HttpRequest form_request(const AuthContext& context, const HttpUrl& url, Form form) {
  HttpRequest request;
  request.method = "POST";
  request.origin = url.origin;
  request.path = url.path;
  request.query = url.query;
  request.headers = {{"Content-Type", "application/x-www-form-urlencoded"},
                     {"Accept", "application/json"}};
  request.body = canonical_query(std::move(form));
  request.route = context.route_for_secrets(url.endpoint());
  return request;
}

Result<BearerToken> read_token_answer(const AuthContext& context, const HttpRequest& request,
                                      const HttpAnswer& answer, std::string source) {
  if (answer.head.status != 200) return refused(request, answer, source);
  const auto members = read_flat_json(answer.body);
  BearerToken token;
  if (members) token.token = Secret(text_of(*members, "access_token"));
  if (token.token.empty()) {
    return Error(ErrorKind::permission_denied,
                 fmt::format("{}: {} answered without an access_token", source, request.host()));
  }
  TRY(check_header_value("the access token", token.token.reveal()));
  const auto until = parse_unsigned(text_of(*members, "expires_on"));
  const auto seconds = parse_unsigned(text_of(*members, "expires_in"));
  // Bounded: a time beyond the clock's range would wrap around.
  constexpr std::uint64_t kMostSeconds = 4'000'000'000;
  if (until) {
    token.expires = SystemTime(std::chrono::seconds(std::min(*until, kMostSeconds)));
  } else if (seconds) {
    token.expires = context.now() + std::chrono::seconds(std::min(*seconds, kMostSeconds));
  }
  token.source = std::move(source);
  return token;
}

Result<BearerToken> ask_for_token(const AuthContext& context, const HttpRequest& request,
                                  std::string source) {
  TransferOptions options;
  options.connect_timeout = Milliseconds(5000);
  options.kept_bytes = kMostTokenAnswerBytes;
  const HttpAnswer answer = TRY(ask(context, request, options, kTokenAttempts));
  return read_token_answer(context, request, answer, std::move(source));
}

Result<std::string> make_jwt(std::string_view header, std::string_view claims,
                             const Secret& private_key) {
  std::string token = base64url_encode(header) + "." + base64url_encode(claims);
  const std::string signature = TRY(sign_rs256(private_key.reveal(), token));
  return token.append(".").append(base64url_encode(signature));
}

}  // namespace streamer::core::inline auth
