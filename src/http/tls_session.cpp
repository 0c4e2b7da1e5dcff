// SPDX-License-Identifier: Apache-2.0
#include "http/tls_session.hpp"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>

#include <cstddef>
#include <string_view>

#include "base/log.hpp"
#include "http/network_libraries.hpp"

namespace streamer::core::inline http {

namespace {

// Since 7.88 libcurl tells whose each record is; since 8.15 it reads ahead by itself.
constexpr unsigned kTellsOfRecords = 0x075800;
constexpr unsigned kReadsAheadItself = 0x080F00;
// Room for as many records of the largest size. With more, calls would be saved and bytes moved:
// before it decrypts a record, OpenSSL moves all that it holds to the buffer's front.
constexpr std::size_t kRecords = 2;
constexpr std::size_t kRecordBytes = SSL3_RT_MAX_ENCRYPTED_LENGTH + SSL3_RT_HEADER_LENGTH;

// A program may have a libcurl that was built with another OpenSSL, or with one of its relatives,
// whose sessions ours must not touch.
bool is_our_openssl() {
  static const bool is_ours = [] {
    const std::string_view theirs = network_libraries().tls;
    const std::string ours = fmt::format("OpenSSL/{}", OpenSSL_version(OPENSSL_VERSION_STRING));
    if (theirs == ours) return true;
    log_line(LogLevel::info, fmt::format("libcurl has {} for TLS, and not {} like this library: it "
                                         "receives records one by one, which is slower",
                                         theirs, ours));
    return false;
  }();
  return is_ours;
}

const SSL* session_of(CURL* easy) {
  if (!is_our_openssl()) return nullptr;
  curl_tlssessioninfo* info = nullptr;
  const bool has_session = curl_easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &info) == CURLE_OK &&
                           info != nullptr && info->backend == CURLSSLBACKEND_OPENSSL;
  return has_session ? static_cast<const SSL*>(info->internals) : nullptr;
}

}  // namespace

std::string tls_version_of(CURL* easy) {
  const SSL* const session = session_of(easy);
  return session != nullptr ? SSL_get_version(session) : "TLS";
}

bool has_unread_tls(CURL* easy) {
  const SSL* const session = session_of(easy);
  return session != nullptr && SSL_pending(session) > 0;
}

bool can_read_ahead() {
  return is_our_openssl() && curl_version_info(CURLVERSION_NOW)->version_num >= kTellsOfRecords;
}

CURLcode read_ahead(CURL* easy, void* context, void* user) {
  static_cast<void>(easy);
  static_cast<void>(user);
  if (curl_version_info(CURLVERSION_NOW)->version_num >= kReadsAheadItself) return CURLE_OK;
  auto* const tls = static_cast<SSL_CTX*>(context);
  SSL_CTX_set_read_ahead(tls, 1);
  SSL_CTX_set_default_read_buffer_len(tls, kRecords * kRecordBytes);
  // libcurl sets it: OpenSSL would give the buffer back, and take one anew, whenever it is empty.
  SSL_CTX_clear_mode(tls, SSL_MODE_RELEASE_BUFFERS);
  return CURLE_OK;
}

bool must_read_on(CURL* easy) {
  const SSL* const session = session_of(easy);
  return session != nullptr && !SSL_want_read(session) && SSL_has_pending(session) == 1;
}

bool holds_bytes(CURL* easy) {
  const SSL* const session = session_of(easy);
  return session != nullptr && SSL_has_pending(session) == 1;
}

}  // namespace streamer::core::inline http
