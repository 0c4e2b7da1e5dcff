// SPDX-License-Identifier: Apache-2.0
#include "storage/remote_config.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "auth/credential_files.hpp"
#include "base/certificates.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "http/system_authorities.hpp"
#include "storage/remote_settings.hpp"

namespace streamer::core::inline storage {

Error with_source(std::string_view source, Error error) {
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

std::optional<Sourced> RemoteConfig::first_of(const SettingRow& row,
                                              std::optional<std::string> value,
                                              std::initializer_list<const char*> names) const {
  if (value) return Sourced{*std::move(value), settings_.source_of(row)};
  for (const char* name : names) {
    if (auto found = variable(name)) return Sourced{*std::move(found), name};
  }
  return std::nullopt;
}

namespace {

constexpr std::size_t kMostCertificateBytes = 1024 * 1024;
constexpr std::size_t kMostBundleBytes = 64 * 1024 * 1024;

Error not_hashed(const std::string& folder, std::string_view source) {
  return Error(ErrorKind::invalid_argument,
               fmt::format("the folder of CA certificates that {} names contains none that is "
                           "named by its hash; run: openssl rehash {}",
                           source, folder));
}

Result<void> check_readable(const Sourced& path, std::string_view what) {
  if (::access(path.value.c_str(), R_OK) == 0) return {};
  return os_failure(fmt::format("read the {} that {} names, {}", what, path.source, path.value),
                    errno);
}

// libcurl would say of a file without certificates that the request could not be sent.
Result<void> check_bundle(const Sourced& file) {
  TRY(check_readable(file, "CA bundle"));
  const std::string content = TRY(read_small_file(file.value, kMostBundleBytes));
  if (content.find("-----BEGIN ") != std::string::npos &&
      content.find("CERTIFICATE-----") != std::string::npos)
    return {};
  const bool is_der = content.starts_with("\x30\x82") || content.starts_with("\x30\x83");
  return Error(ErrorKind::invalid_argument,
               fmt::format("the CA bundle that {} names, {}, contains no certificate in PEM; {}",
                           file.source, file.value,
                           is_der ? fmt::format("it may be DER: openssl x509 -inform der -in {} "
                                                "-out FILE.pem",
                                                file.value)
                                  : "name a PEM file of certificates"));
}

// One of several is enough: often some of the named folders do not exist.
Result<void> check_folders(const Sourced& folders) {
  std::string_view rest = folders.value;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(':'), rest.size());
    if (has_hashed_certificates(std::string(rest.substr(0, end)))) return {};
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return not_hashed(folders.value, folders.source);
}

}  // namespace

Result<void> RemoteConfig::read_authorities(std::optional<Sourced> from_profile,
                                            TlsFiles& tls) const {
  auto path = first_of(setting::kCaBundle, {"AWS_CA_BUNDLE"});
  if (!path) path = std::move(from_profile);
  for (const char* const variable : {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}) {
    if (!path && environment_(variable)) path = Sourced{*environment_(variable), variable};
  }
  if (path) {
    std::error_code failure;
    if (!std::filesystem::is_directory(path->value, failure)) {
      TRY(check_bundle(*path));
      tls.ca_file = path->value;
      return {};
    }
    TRY(check_readable(*path, "CA bundle"));
    TRY(check_folders(*path));
    tls.ca_folder = path->value;
    return {};
  }
  const auto file = environment_("SSL_CERT_FILE");
  const auto folders = environment_("SSL_CERT_DIR");
  TlsFiles system = system_authorities(text(setting::kLastCaBundle));
  if (!file && !folders) {
    tls = std::move(system);
    return {};
  }
  // OpenSSL's variables: each replaces one half of the system's authorities.
  if (file) TRY(check_bundle({*file, "SSL_CERT_FILE"}));
  if (folders && !check_folders({*folders, "SSL_CERT_DIR"})) {
    log_line(LogLevel::warning,
             fmt::format("no certificate was found in SSL_CERT_DIR ({}): files there must be named "
                         "by their hashes; run: openssl rehash FOLDER",
                         *folders));
  }
  tls.ca_file = file.value_or(system.ca_file);
  tls.ca_folder = folders.value_or(system.ca_folder);
  return {};
}

Result<void> RemoteConfig::read_client_certificate(TlsFiles& tls) const {
  const auto certificate = first_of(setting::kClientCertificate, {});
  const auto key = first_of(setting::kClientKey, {});
  if (!certificate && !key) return {};
  if (!certificate) {
    return Error(ErrorKind::invalid_argument,
                 fmt::format("{} is set but client_certificate is not; set both, or the "
                             "certificate alone if its file contains the key",
                             key->source));
  }
  TRY(check_readable(*certificate, "client certificate"));
  if (key) TRY(check_readable(*key, "key of the client certificate"));
  std::string content = TRY(read_small_file(certificate->value, kMostCertificateBytes));
  if (key) content += "\n" + TRY(read_small_file(key->value, kMostCertificateBytes));
  const Secret both(std::move(content));
  const auto read = read_certificate(both.reveal(), Secret());
  if (!read) {
    const std::string files =
        key ? fmt::format("{} with {}", certificate->source, key->source) : certificate->source;
    return with_source(
        fmt::format("the client certificate {} ({})", certificate->value, files),
        Error(read.error().kind(),
              fmt::format("{}; client_certificate and client_key are PEM files, and the "
                          "key is not encrypted",
                          read.error().message())));
  }
  tls.client_certificate = certificate->value;
  if (key) tls.client_key = key->value;
  return {};
}

Result<TlsFiles> RemoteConfig::tls_files(std::optional<Sourced> from_profile) const {
  TlsFiles tls;
  TRY(read_authorities(std::move(from_profile), tls));
  TRY(read_client_certificate(tls));
  return tls;
}

}  // namespace streamer::core::inline storage
