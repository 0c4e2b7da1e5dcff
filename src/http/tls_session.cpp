// SPDX-License-Identifier: Apache-2.0
#include "http/tls_session.hpp"

#include <openssl/ssl.h>

namespace streamer::core::inline http {

namespace {

const SSL* session_of(CURL* easy) {
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

}  // namespace streamer::core::inline http
