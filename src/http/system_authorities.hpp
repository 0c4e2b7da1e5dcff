// SPDX-License-Identifier: Apache-2.0
#pragma once
// The authorities that libcurl trusts by default.

#include "http/request.hpp"

namespace streamer::core::inline http {

// ca_file and ca_folder as libcurl was built with them; either may be empty.
[[nodiscard]] TlsFiles system_authorities();

}  // namespace streamer::core::inline http
