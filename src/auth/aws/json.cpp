// SPDX-License-Identifier: Apache-2.0
// JSON answers that contain AWS keys.
#include <fmt/format.h>

#include "auth/aws/context.hpp"
#include "base/text.hpp"

namespace streamer::core::inline auth {

namespace {

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
  const auto members = read_flat_json(text, names.object);
  // The text may contain secrets, so no part of it is shown.
  if (!members) {
    return Error(ErrorKind::permission_denied,
                 fmt::format("{} did not answer with credentials as JSON", source));
  }
  const auto find = [&](std::string_view name) { return text_of(*members, name); };
  const std::string code = find("Code");
  if (!code.empty() && code != "Success") {
    return Error(ErrorKind::permission_denied,
                 fmt::format("{} answered {}: {}", source, code, find("Message").substr(0, 500)));
  }
  if (!names.version.empty() && find(names.version) != "1") {
    return Error(ErrorKind::permission_denied,
                 fmt::format("{} answered with a {} other than 1", source, names.version));
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
                   fmt::format("{} answered with {} \"{}\", which is not a time", source,
                               names.expiration, expiration.substr(0, 60)));
    }
  }
  TRY(check_credentials(credentials));
  return credentials;
}

}  // namespace streamer::core::inline auth
