// SPDX-License-Identifier: Apache-2.0
#pragma once
// The authorities that this machine trusts, whatever its distribution.

#include <string>

#include "base/result.hpp"
#include "http/request.hpp"

namespace streamer::core::inline http {

// ca_file and ca_folder as libcurl was built with them, if they are there. Otherwise the first of
// the files that Debian, RHEL, SUSE, Alpine and systems like them keep, else the first of their
// folders, else last_file. If none is there, both are empty and `tried` names all of them. root is
// put before every place but last_file.
[[nodiscard]] TlsFiles system_authorities(const std::string& last_file = {},
                                          const std::string& root = {});

// Whether a certificate there is named by its hash, "0a1b2c3d.0", without which OpenSSL finds none.
[[nodiscard]] bool has_hashed_certificates(const std::string& folder);

// The error of a request over TLS if no authorities were found.
[[nodiscard]] Error no_authorities(const TlsFiles& tls);

}  // namespace streamer::core::inline http
