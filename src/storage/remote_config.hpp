// SPDX-License-Identifier: Apache-2.0
#pragma once
// What all stores behind HTTP read for their configuration: settings first, then the environment.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "auth/bearer_token.hpp"
#include "base/environment.hpp"
#include "base/settings.hpp"
#include "base/text.hpp"
#include "http/request.hpp"
#include "storage/store_settings.hpp"

namespace streamer::core::inline storage {

// A value and its source, for humans.
struct Sourced {
  std::string value;
  std::string source;
};

// An error about a value, prefixed with the value's source.
[[nodiscard]] Error with_source(std::string_view source, Error error);
template <typename T>
Result<T> read_from(std::string_view source, Result<T> read) {
  if (read) return read;
  return with_source(source, std::move(read).error());
}

// Asks the program for a token, each time one is needed.
[[nodiscard]] std::function<Result<BearerToken>()> token_from_callback(
    std::shared_ptr<const CredentialsCallback> callback);

class RemoteConfig {
 public:
  // The settings of stores as they are now. Both must outlive what it returns.
  static Result<RemoteConfig> read(const Settings& settings, const Environment& environment) {
    return RemoteConfig(settings, environment, TRY(read_store_settings(settings)));
  }

  template <typename Type>
  [[nodiscard]] typename Type::Value get(const Setting<Scope::store, Type>& setting) const {
    return values_.get(setting);
  }
  // Of a text: empty if there is none.
  [[nodiscard]] std::string text(const Setting<Scope::store, Text>& setting) const {
    return get(setting).value_or("");
  }
  [[nodiscard]] Secret secret(const Setting<Scope::store, SecretText>& setting) const {
    return get(setting).value_or(Secret());
  }
  [[nodiscard]] std::string source_of(const SettingRow& row) const {
    return settings_.source_of(row);
  }
  [[nodiscard]] bool is_in_code(const SettingRow& row) const { return settings_.is_in_code(row); }
  // Without the line break at its end that a mounted file may leave.
  [[nodiscard]] std::optional<std::string> variable(const char* name) const {
    auto value = environment_(name);
    if (value) value = std::string(trim(*value));
    return value && !value->empty() ? value : std::nullopt;
  }
  // The setting, else the first variable that is set.
  [[nodiscard]] std::optional<Sourced> first_of(const Setting<Scope::store, Text>& setting,
                                                std::initializer_list<const char*> names) const {
    return first_of(setting, get(setting), names);
  }
  [[nodiscard]] std::optional<Sourced> first_of(const Setting<Scope::store, SecretText>& setting,
                                                std::initializer_list<const char*> names) const {
    std::optional<std::string> value;
    if (const auto secret = get(setting)) value = std::string(secret->reveal());
    return first_of(setting, std::move(value), names);
  }

  // Authorities: ca_bundle, AWS_CA_BUNDLE, from_profile, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, each a
  // PEM file or a folder of hashed ones; else the system's (system_authorities()), with
  // SSL_CERT_FILE for its file and SSL_CERT_DIR for its folder. The client's certificate:
  // client_certificate and client_key. Fails on files that cannot be read, are not hashed, or do
  // not belong together, and says what named them.
  [[nodiscard]] Result<TlsFiles> tls_files(std::optional<Sourced> from_profile = {}) const;

  [[nodiscard]] const Settings& settings() const noexcept { return settings_; }

 private:
  RemoteConfig(const Settings& settings, const Environment& environment, StoreSettings values)
      : settings_(settings), environment_(environment), values_(std::move(values)) {}

  [[nodiscard]] std::optional<Sourced> first_of(const SettingRow& row,
                                                std::optional<std::string> value,
                                                std::initializer_list<const char*> names) const;
  [[nodiscard]] Result<void> read_authorities(std::optional<Sourced> from_profile,
                                              TlsFiles& tls) const;
  [[nodiscard]] Result<void> read_client_certificate(TlsFiles& tls) const;

  const Settings& settings_;
  const Environment& environment_;
  StoreSettings values_;
};

}  // namespace streamer::core::inline storage
