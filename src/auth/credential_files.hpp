// SPDX-License-Identifier: Apache-2.0
#pragma once
// The small files that credentials stand in.

#include <string>

#include "base/environment.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"

namespace streamer::core {

// The home directory: HOME, or what the user database says. Empty if neither knows.
[[nodiscard]] std::string home_directory(const Environment& environment);

// All of a file; not_found if there is none. Fails with invalid_argument if it is longer than
// most_bytes.
Result<std::string> read_small_file(const std::string& path, std::size_t most_bytes);

// A token from a file: trimmed, at most most_bytes, without line breaks.
Result<Secret> read_token_file(const std::string& path, std::size_t most_bytes);

}  // namespace streamer::core
