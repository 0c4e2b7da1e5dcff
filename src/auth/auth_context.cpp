// SPDX-License-Identifier: Apache-2.0
#include "auth/auth_context.hpp"

#include "base/chance.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "http/other_scheme.hpp"
#include "http/proxy.hpp"

namespace streamer::core::inline auth {

bool is_true(std::string_view text) noexcept {
  text = trim(text);
  return text == "1" || equal_ignoring_case(text, "true") || equal_ignoring_case(text, "yes") ||
         equal_ignoring_case(text, "on");
}

std::shared_ptr<const HttpRoute> AuthContext::route_to(const Endpoint& endpoint) const {
  return std::make_shared<HttpRoute>(
      HttpRoute{.tls = tls, .proxy = proxy_for(endpoint, environment)});
}

std::shared_ptr<const HttpRoute> AuthContext::route_past_proxies() const {
  return std::make_shared<HttpRoute>(HttpRoute{.tls = tls, .proxy = {}});
}

Result<HttpAnswer> ask(const AuthContext& context, const HttpRequest& request,
                       TransferOptions options, std::uint32_t attempts) {
  const RetryPolicy policy{
      .attempts = attempts, .throttled_base = Milliseconds(500), .cap = Milliseconds(2000)};
  for (std::uint32_t attempt = 1;; ++attempt) {
    KeepBody sink;
    Transfer transfer(request, sink, options);
    TRY(context.http->run(transfer));
    const bool has_answer = transfer.fault() == TransferFault::none;
    const Again again =
        has_answer ? again_after_status(transfer.head().status) : again_after(transfer.fault());
    if (again == Again::never || attempt >= attempts) {
      if (!has_answer) {
        if (std::string mismatch = scheme_mismatch(*context.http, transfer); !mismatch.empty())
          return Error(transfer_error(transfer).kind(), std::move(mismatch)).with_attempts(attempt);
        return transfer_error(transfer).with_attempts(attempt);
      }
      return HttpAnswer{transfer.head(), transfer.kept_body()};
    }
    options.fresh_connection = true;
    context.pause(
        retry_delay(policy, again, attempt, retry_after(transfer.head(), context.now()), chance()));
  }
}

namespace {

Result<void> flatten(JsonValue& value, std::string_view object, FlatJson& into) {
  return value.members([&](std::string_view key, JsonValue& member) -> Result<void> {
    const JsonKind kind = TRY(member.kind());
    if (kind == JsonKind::object && !object.empty() && key == object)
      return flatten(member, "", into);
    if (kind == JsonKind::string) {
      into.insert_or_assign(std::string(key), std::string(TRY(member.string())));
    } else if (kind == JsonKind::number && object.empty()) {
      const auto number = member.unsigned_integer();
      if (number) into.insert_or_assign(std::string(key), std::to_string(*number));
    }
    return {};
  });
}

}  // namespace

Result<FlatJson> read_flat_json(std::string_view text, std::string_view object) {
  FlatJson members;
  TRY(read_json(JsonText(text), [&](JsonValue& top) { return flatten(top, object, members); }));
  return members;
}

std::string text_of(const FlatJson& members, std::string_view name) {
  const auto found = members.find(name);
  return found == members.end() ? std::string() : found->second;
}

}  // namespace streamer::core::inline auth
