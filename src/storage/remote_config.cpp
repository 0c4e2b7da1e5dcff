// SPDX-License-Identifier: Apache-2.0
#include "storage/remote_config.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include "base/text.hpp"

namespace streamer::core {

bool is_true(std::string_view text) noexcept {
  return text == "1" || equal_ignoring_case(text, "true") || equal_ignoring_case(text, "yes") ||
         equal_ignoring_case(text, "on");
}

Error blame(std::string_view source, Error error) {
  ErrorFields fields = error.fields();
  fields.message = fmt::format("{}: {}", source, fields.message);
  return Error(std::move(fields));
}

std::function<Result<BearerToken>()> token_from_callback(
    std::shared_ptr<const CredentialsCallback> callback) {
  return [callback = std::move(callback)]() -> Result<BearerToken> {
    const GivenCredentials given = TRY((*callback)());
    if (given.bearer_token.empty()) {
      return Error(ErrorKind::permission_denied, "the program's callback gave no bearer_token");
    }
    TRY(check_header_value("the token of the callback", given.bearer_token.reveal()));
    return BearerToken{
        .token = given.bearer_token, .expires = given.expires, .source = "the program's callback"};
  };
}

std::optional<std::string> RemoteConfig::setting(std::string_view name) const {
  std::string text = settings_.text(name);
  if (text.empty() || text == "auto") return std::nullopt;
  return text;
}

bool RemoteConfig::flag(std::string_view name) const {
  return is_true(setting(name).value_or(""));
}

std::optional<Sourced> RemoteConfig::first_of(std::string_view setting_name,
                                              std::initializer_list<const char*> names) const {
  if (auto value = setting(setting_name))
    return Sourced{*std::move(value), settings_.source_of(setting_name)};
  for (const char* name : names) {
    if (auto value = environment_(name)) return Sourced{*std::move(value), name};
  }
  return std::nullopt;
}

Result<std::string> RemoteConfig::ca_bundle(std::optional<std::string> from_profile) const {
  auto path = setting("ca_bundle");
  if (!path) path = environment_("AWS_CA_BUNDLE");
  if (!path) path = std::move(from_profile);
  if (!path) path = environment_("SSL_CERT_FILE");
  if (!path) path = environment_("CURL_CA_BUNDLE");
  if (!path) return std::string();
  if (::access(path->c_str(), R_OK) != 0)
    return os_failure("the CA bundle cannot be read", errno).at(*path);
  return *std::move(path);
}

}  // namespace streamer::core
