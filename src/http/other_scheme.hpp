// SPDX-License-Identifier: Apache-2.0
#pragma once
// Detects https:// to a port without TLS, and http:// to one with it, and says what to write
// instead.

#include <string>
#include <string_view>

#include "http/http_client.hpp"

namespace streamer::core::inline http {

// The text for a transfer that failed because the server speaks the other scheme; empty if that was
// not the cause. If the failure alone does not tell, requests "/" from the server once, without
// query and credentials.
[[nodiscard]] std::string scheme_mismatch(HttpClient& http, const Transfer& transfer);

// Whether this is how a server with TLS answers to a request in plain text.
[[nodiscard]] bool says_tls_port(int status, std::string_view body) noexcept;

// "http://HOST is a port with TLS ...".
[[nodiscard]] std::string tls_port_text(const HttpRequest& request);

}  // namespace streamer::core::inline http
