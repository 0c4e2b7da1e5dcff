// SPDX-License-Identifier: Apache-2.0
// What the sources of credentials share: small requests, tokens in files, answers of JSON.
#include <fmt/format.h>

#include <map>
#include <thread>

#include "auth/aws_context.hpp"
#include "base/chance.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "http/proxy.hpp"

namespace streamer::core {

std::shared_ptr<const HttpRoute> AwsContext::route_to(const Endpoint& endpoint) const {
  return std::make_shared<HttpRoute>(
      HttpRoute{.ca_bundle = ca_bundle, .proxy = proxy_for(endpoint, environment)});
}

Result<HttpAnswer> ask(const AwsContext& context, const HttpRequest& request,
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
      if (!has_answer) return transfer_error(transfer).with_attempts(attempt);
      return HttpAnswer{transfer.head(), transfer.kept_body()};
    }
    options.fresh_connection = true;
    std::this_thread::sleep_for(
        retry_delay(policy, again, attempt, retry_after(transfer.head(), context.now()), chance()));
  }
}

Result<Secret> read_token_file(const std::string& path, std::size_t most_bytes) {
  const std::string text = TRY(read_small_file(path, most_bytes));
  Secret token{std::string(trim(text))};
  if (token.empty()) return Error(ErrorKind::permission_denied, "the token file is empty").at(path);
  TRY(check_header_value("the token in the file", token.reveal()).at(path));
  return token;
}

namespace {

// Texts and whole numbers of one object, by name.
using FlatJson = std::map<std::string, std::string, std::less<>>;

Result<void> flatten(JsonValue& value, std::string_view object, FlatJson& into) {
  return value.members([&](std::string_view key, JsonValue& member) -> Result<void> {
    const JsonKind kind = TRY(member.kind());
    if (kind == JsonKind::object && key == object) return flatten(member, "", into);
    if (kind == JsonKind::string) {
      into.insert_or_assign(std::string(key), std::string(TRY(member.string())));
    } else if (kind == JsonKind::number && object.empty()) {
      into.insert_or_assign(std::string(key), std::to_string(TRY(member.unsigned_integer())));
    }
    return {};
  });
}

std::optional<SystemTime> parse_expiration(std::string_view text) {
  if (const auto milliseconds = parse_unsigned(text)) {
    const auto latest =
        std::chrono::duration_cast<std::chrono::milliseconds>(latest_time().time_since_epoch());
    return SystemTime(std::chrono::milliseconds(
        std::min<std::uint64_t>(*milliseconds, static_cast<std::uint64_t>(latest.count()))));
  }
  return parse_iso(text);
}

}  // namespace

Result<AwsCredentials> read_json_credentials(std::string_view text,
                                             const JsonCredentialNames& names,
                                             std::string_view source) {
  FlatJson members;
  const auto read = read_json(JsonText(text),
                              [&](JsonValue& top) { return flatten(top, names.object, members); });
  // The text may hold secrets, so that no part of it is shown.
  if (!read) {
    return Error(ErrorKind::permission_denied,
                 fmt::format("{} answered something that is not the JSON of credentials", source));
  }
  const auto find = [&](std::string_view name) -> std::string {
    const auto found = members.find(name);
    return found == members.end() ? std::string() : found->second;
  };
  const std::string code = find("Code");
  if (!code.empty() && code != "Success") {
    return Error(ErrorKind::permission_denied,
                 fmt::format("{} answered {}: {}", source, code, find("Message").substr(0, 500)));
  }
  if (!names.version.empty() && find(names.version) != "1") {
    return Error(ErrorKind::permission_denied,
                 fmt::format("{} answered with another {} than 1", source, names.version));
  }
  AwsCredentials credentials{.access_key_id = find(names.id),
                             .secret_access_key = Secret(find(names.secret)),
                             .session_token = Secret(find(names.token)),
                             .expires = {},
                             .source = std::string(source)};
  if (credentials.access_key_id.empty() || credentials.secret_access_key.empty()) {
    return Error(ErrorKind::permission_denied,
                 fmt::format("{} answered without {} or {}", source, names.id, names.secret));
  }
  const std::string expiration = find(names.expiration);
  if (!expiration.empty()) {
    credentials.expires = parse_expiration(expiration);
    if (!credentials.expires) {
      return Error(ErrorKind::permission_denied,
                   fmt::format("{} answered with {} \"{}\", which is no time", source,
                               names.expiration, expiration.substr(0, 60)));
    }
  }
  TRY(check_credentials(credentials));
  return credentials;
}

}  // namespace streamer::core
