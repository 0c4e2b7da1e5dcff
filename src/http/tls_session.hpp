// SPDX-License-Identifier: Apache-2.0
#pragma once
// What OpenSSL knows of a connection of libcurl. Only while the transfer is in its loop.

#include <curl/curl.h>

#include <string>

namespace streamer::core {

// "TLSv1.3"; "TLS" if libcurl was built with another library than OpenSSL.
[[nodiscard]] std::string tls_version_of(CURL* easy);

// Whether bytes were decrypted that libcurl did not take.
[[nodiscard]] bool has_unread_tls(CURL* easy);

}  // namespace streamer::core
