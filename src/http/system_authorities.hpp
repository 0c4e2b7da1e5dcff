// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whom libcurl believes if nobody says otherwise.

#include "http/request.hpp"

namespace streamer::core {

// ca_file and ca_folder as libcurl was built with them; either may be empty.
[[nodiscard]] TlsFiles system_authorities();

}  // namespace streamer::core
