// SPDX-License-Identifier: Apache-2.0
#pragma once
// Settings of all stores behind a network.

#include "base/setting.hpp"

namespace streamer::core::inline storage {

// no, yes, or the project that pays.
struct RequesterPays : PlainType {
  struct Value {
    bool agrees = false;
    std::string project;  // may be empty
  };
  [[nodiscard]] static std::optional<Value> read(std::string_view text) {
    if (text.empty()) return std::nullopt;
    if (text == "requester") return Value{true, ""};  // as AWS_REQUEST_PAYER has it
    const std::optional<bool> agrees = YesOrNo().read(text);
    if (agrees) return Value{*agrees, ""};
    if (!is_project(text)) return std::nullopt;
    return Value{true, std::string(text)};
  }
  [[nodiscard]] static std::string values() {
    return YesOrNo().values() + ", or the ID or number of a project of Google's";
  }

 private:
  // As Google names them, which no word for "none" is: my-project-1, example.com:my-project, or a
  // number.
  [[nodiscard]] static bool is_project(std::string_view text) {
    constexpr std::string_view kDigits = "0123456789";
    constexpr std::string_view kIdLetters = "abcdefghijklmnopqrstuvwxyz0123456789-";
    if (text.size() >= 6 && text.find_first_not_of(kDigits) == std::string_view::npos) return true;
    const std::string_view id = text.substr(text.find(':') + 1);
    const std::string_view domain = text.substr(0, text.size() - id.size());
    return id.size() >= 6 && id.size() <= 30 && id[0] >= 'a' && id[0] <= 'z' &&
           id.find_first_not_of(kIdLetters) == std::string_view::npos &&
           domain.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-.:") ==
               std::string_view::npos;
  }
};

}  // namespace streamer::core::inline storage

namespace streamer::core::setting {

inline constexpr Setting kCaBundle{
    RowOf<Scope::store>{
        .name = "ca_bundle",
        .meaning =
            "The PEM file of the authorities that sign the servers' certificates, or a folder of "
            "such files named by their hashes (openssl rehash). auto is AWS_CA_BUNDLE, the "
            "profile's ca_bundle, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, or else the system's file "
            "and folder, which SSL_CERT_FILE and SSL_CERT_DIR replace. The system's are where "
            "Debian, RHEL, SUSE, Alpine and systems like them keep them; in Python, certifi's come "
            "last."},
    Text("a path")};

inline constexpr Setting kLastCaBundle{
    RowOf<Scope::store>{
        .name = "debug.last_ca_bundle",
        .meaning = "The PEM file of authorities that is used where this machine has none of its "
                   "own. The Python package sets it to certifi's."},
    Text("a path")};

inline constexpr Setting kClientCertificate{
    RowOf<Scope::store>{
        .name = "client_certificate",
        .meaning = "The PEM file of the certificate that identifies this client to servers that "
                   "ask for one (mutual TLS), followed by the certificates that vouch for it. "
                   "Shown to every server that asks, including those that issue credentials."},
    Text("a path")};

inline constexpr Setting kClientKey{
    RowOf<Scope::store>{
        .name = "client_key",
        .meaning = "The PEM file of client_certificate's private key, not encrypted. auto is "
                   "the certificate's file."},
    Text("a path")};

inline constexpr Setting kConnectTimeoutMs{
    RowOf<Scope::store>{
        .name = "debug.connect_timeout_ms",
        .default_text = "5000",
        .meaning = "How long a connection may take: name look-up, connecting, TLS."},
    Duration::milliseconds_to(600'000)};

inline constexpr Setting kMaxAttempts{
    RowOf<Scope::store>{.name = "debug.max_attempts",
                        .default_text = "10",
                        .meaning = "How often a request over a network is attempted before its "
                                   "failure fails the load; twice as often if the store asks for "
                                   "fewer requests, but for 1. Progress resets the count."},
    Count("", 1, 100)};

inline constexpr Setting kRequesterPays{
    RowOf<Scope::store>{.name = "requester_pays",
                        .also = "AWS_REQUEST_PAYER",
                        .default_text = "no",
                        .meaning = "Whether the requester agrees to be charged, for buckets whose "
                                   "owner does not pay: yes, "
                                   "for S3. For Google: the project that is charged; yes and no "
                                   "are the credentials' quota "
                                   "project, if they have one."},
    RequesterPays()};

inline constexpr Setting kStallTimeoutMs{
    RowOf<Scope::store>{.name = "stall_timeout_ms",
                        .also = "RUNAI_STREAMER_S3_REQUEST_TIMEOUT_MS",
                        .default_text = "10000",
                        .meaning = "A request over a network is made again, on a new connection, "
                                   "if no byte arrives for this long."},
    Duration::milliseconds_to(600'000)};

}  // namespace streamer::core::setting

namespace streamer::core::inline storage {

inline constexpr const SettingRow* kRemoteSettings[] = {
    &setting::kCaBundle,      &setting::kLastCaBundle,     &setting::kClientCertificate,
    &setting::kClientKey,     &setting::kConnectTimeoutMs, &setting::kMaxAttempts,
    &setting::kRequesterPays, &setting::kStallTimeoutMs};

}  // namespace streamer::core::inline storage
