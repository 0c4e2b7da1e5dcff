// SPDX-License-Identifier: Apache-2.0
#include "http/system_authorities.hpp"

#include <curl/curl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <string_view>

#include "base/text.hpp"

namespace streamer::core::inline http {

namespace {

// Go's crypto/x509 and Python's tools look in the same places.
constexpr std::array kFiles{
    "/etc/ssl/certs/ca-certificates.crt",                 // Debian, Ubuntu, Arch, Gentoo
    "/etc/pki/tls/certs/ca-bundle.crt",                   // RHEL, Fedora, Amazon Linux
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  // RHEL 7 and later
    "/etc/ssl/ca-bundle.pem",                             // SUSE
    "/var/lib/ca-certificates/ca-bundle.pem",             // SUSE, openSUSE
    "/etc/ssl/cert.pem",                                  // Alpine
};
constexpr std::array kFolders{
    "/etc/ssl/certs",      // Debian, SUSE, Alpine
    "/etc/pki/tls/certs",  // RHEL
};

bool is_file(const std::string& path) {
  std::error_code failure;
  return std::filesystem::is_regular_file(path, failure) && ::access(path.c_str(), R_OK) == 0;
}

bool is_hashed_name(std::string_view name) {
  if (name.size() < 10 || name[8] != '.' || !parse_unsigned(name.substr(9))) return false;
  return name.substr(0, 8).find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Remembers what it was asked about.
class Places {
 public:
  explicit Places(const std::string& root) : root_(root) {}

  template <typename IsThere>
  std::string first(std::string place, IsThere is_there) {
    place.insert(0, root_);
    if (is_there(place)) return place;
    if (tried_.find(place) == std::string::npos) tried_ += (tried_.empty() ? "" : ", ") + place;
    return {};
  }
  [[nodiscard]] const std::string& tried() const { return tried_; }

 private:
  const std::string& root_;
  std::string tried_;
};

}  // namespace

bool has_hashed_certificates(const std::string& folder) {
  std::error_code failure;
  std::filesystem::directory_iterator entry(folder, failure);
  for (; !failure && entry != std::filesystem::directory_iterator(); entry.increment(failure)) {
    if (is_hashed_name(entry->path().filename().string())) return true;
  }
  return false;
}

TlsFiles system_authorities(const std::string& last_file, const std::string& root) {
  TlsFiles tls;
  Places places(root);
  const curl_version_info_data* const info = curl_version_info(CURLVERSION_NOW);
  if (info != nullptr && info->age >= CURLVERSION_SEVENTH) {
    if (info->cainfo != nullptr) tls.ca_file = places.first(info->cainfo, is_file);
    if (info->capath != nullptr)
      tls.ca_folder = places.first(info->capath, has_hashed_certificates);
  }
  if (!tls.ca_file.empty() || !tls.ca_folder.empty()) return tls;
  for (const char* const file : kFiles) {
    tls.ca_file = places.first(file, is_file);
    if (!tls.ca_file.empty()) return tls;
  }
  for (const char* const folder : kFolders) {
    tls.ca_folder = places.first(folder, has_hashed_certificates);
    if (!tls.ca_folder.empty()) return tls;
  }
  if (is_file(last_file)) {
    tls.ca_file = last_file;
    return tls;
  }
  tls.tried = places.tried();
  if (!last_file.empty()) tls.tried += ", " + last_file;
  return tls;
}

Error no_authorities(const TlsFiles& tls) {
  return Error(ErrorKind::untrusted,
               fmt::format("TLS: this machine has no certificates of authorities to check servers "
                           "with (tried {}); install its package ca-certificates, or name a PEM "
                           "file in ca_bundle or SSL_CERT_FILE",
                           tls.tried));
}

}  // namespace streamer::core::inline http
