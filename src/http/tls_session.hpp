// SPDX-License-Identifier: Apache-2.0
#pragma once
// What OpenSSL knows of a libcurl connection. Only while the transfer is in its loop.

#include <curl/curl.h>

#include <string>

namespace streamer::core::inline http {

// "TLSv1.3"; "TLS" if libcurl was built with a library other than OpenSSL.
[[nodiscard]] std::string tls_version_of(CURL* easy);

// Whether there are decrypted bytes that libcurl has not read.
[[nodiscard]] bool has_unread_tls(CURL* easy);

}  // namespace streamer::core::inline http
