// SPDX-License-Identifier: Apache-2.0
#pragma once
// What version of TLS a connection of libcurl speaks.

#include <curl/curl.h>

#include <string>

namespace streamer::core {

// "TLSv1.3"; "TLS" if libcurl was built with another library than OpenSSL. Only while the transfer
// is in its loop.
[[nodiscard]] std::string tls_version_of(CURL* easy);

}  // namespace streamer::core
