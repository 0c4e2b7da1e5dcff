// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the configurations of all stores behind HTTP read: settings first, then the environment.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "auth/bearer_token.hpp"
#include "base/environment.hpp"
#include "base/settings.hpp"
#include "http/request.hpp"

namespace streamer::core {

// A value, and for people: what said so.
struct Sourced {
  std::string value;
  std::string source;
};

// An error about a value, with what said so in front.
[[nodiscard]] Error with_source(std::string_view source, Error error);
template <typename T>
Result<T> read_from(std::string_view source, Result<T> read) {
  if (read) return read;
  return with_source(source, std::move(read).error());
}

// Asks the program for a token, each time that one is needed.
[[nodiscard]] std::function<Result<BearerToken>()> token_from_callback(
    std::shared_ptr<const CredentialsCallback> callback);

class RemoteConfig {
 public:
  // Both must outlive it.
  RemoteConfig(const Settings& settings, const Environment& environment)
      : settings_(settings), environment_(environment) {}

  // A setting that was set, in code or by a variable of its own; nullopt for "auto" and nothing.
  [[nodiscard]] std::optional<std::string> setting(std::string_view name) const;
  [[nodiscard]] bool flag(std::string_view name) const;
  [[nodiscard]] bool is_in_code(std::string_view name) const {
    return settings_.text_in_code(name).has_value();
  }
  [[nodiscard]] std::optional<std::string> variable(const char* name) const {
    return environment_(name);
  }
  // The setting, else the first variable that is set.
  [[nodiscard]] std::optional<Sourced> first_of(std::string_view setting_name,
                                                std::initializer_list<const char*> names) const;

  // Authorities: ca_bundle, AWS_CA_BUNDLE, from_profile, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, each a
  // PEM file or a folder of hashed ones; else the system's, with SSL_CERT_FILE for its file and
  // SSL_CERT_DIR for its folder.
  // Who we are: client_certificate and client_key. Fails on what cannot be read, is not hashed, or
  // does not belong together, and says who named it.
  [[nodiscard]] Result<TlsFiles> tls_files(std::optional<Sourced> from_profile = {}) const;

  [[nodiscard]] const Settings& settings() const noexcept { return settings_; }

 private:
  [[nodiscard]] Result<void> read_authorities(std::optional<Sourced> from_profile,
                                              TlsFiles& tls) const;
  [[nodiscard]] Result<void> read_client_certificate(TlsFiles& tls) const;

  const Settings& settings_;
  const Environment& environment_;
};

}  // namespace streamer::core
