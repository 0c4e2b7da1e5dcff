// SPDX-License-Identifier: Apache-2.0
#pragma once
// What OpenSSL knows of a libcurl connection. Only while the transfer is in its loop.
//
// A TLS record has up to 16 KiB, and OpenSSL receives its header and its body by one recv(2) each.
// A connection that reads ahead receives several records at once instead. libcurl before 8.15 does
// not know of records that wait in OpenSSL: it would leave its loop and wait for a socket that
// stays silent. Whoever drives it must look for them, as EventLoop does.

#include <curl/curl.h>

#include <string>

namespace streamer::core::inline http {

// "TLSv1.3"; "TLS" if libcurl was built with a library other than OpenSSL.
[[nodiscard]] std::string tls_version_of(CURL* easy);

// Whether there are decrypted bytes that libcurl has not read.
[[nodiscard]] bool has_unread_tls(CURL* easy);

// Whether connections can be made to read ahead: libcurl uses the same OpenSSL as this library.
[[nodiscard]] bool can_read_ahead();

// For CURLOPT_SSL_CTX_FUNCTION, if they can: the connection will read ahead.
CURLcode read_ahead(CURL* easy, void* context, void* user);

// Whether OpenSSL holds bytes, decrypted or not, that no event of the socket will tell of: libcurl
// stopped before it had taken all that was there.
[[nodiscard]] bool must_read_on(CURL* easy);

// Whether OpenSSL holds anything that libcurl has not read, decrypted or not.
[[nodiscard]] bool holds_bytes(CURL* easy);

}  // namespace streamer::core::inline http
