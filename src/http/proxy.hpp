// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which proxy the environment sets for a URL. Pure except for the environment that it is given.

#include <string>
#include <string_view>

#include "base/environment.hpp"
#include "http/request.hpp"

namespace streamer::core::inline http {

// https_proxy, HTTPS_PROXY, http_proxy (lower case only: a CGI program's HTTP_PROXY is a header
// that a stranger sent), ALL_PROXY, all_proxy; then no_proxy, NO_PROXY: hosts and domains by
// suffix, IP addresses, CIDR blocks, "*". Empty: no proxy.
[[nodiscard]] std::string proxy_for(const Endpoint& endpoint, const Environment& environment);

// Whether no_proxy excludes the host.
[[nodiscard]] bool is_excluded_by(std::string_view no_proxy, std::string_view host);

}  // namespace streamer::core::inline http
