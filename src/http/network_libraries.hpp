// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the process's libcurl is, and what it uses for TLS.

namespace streamer::core::inline http {

struct NetworkLibraries {
  const char* curl;  // "7.88.1"
  const char* tls;   // "OpenSSL/3.0.17"
};

[[nodiscard]] NetworkLibraries network_libraries() noexcept;

}  // namespace streamer::core::inline http
