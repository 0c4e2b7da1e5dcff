// SPDX-License-Identifier: Apache-2.0
#include "http/tls_version.hpp"

#include <openssl/ssl.h>

namespace streamer::core {

std::string tls_version_of(CURL* easy) {
  curl_tlssessioninfo* info = nullptr;
  const bool has_session = curl_easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &info) == CURLE_OK &&
                           info != nullptr && info->backend == CURLSSLBACKEND_OPENSSL &&
                           info->internals != nullptr;
  return has_session ? SSL_get_version(static_cast<const SSL*>(info->internals)) : "TLS";
}

}  // namespace streamer::core
