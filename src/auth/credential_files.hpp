// SPDX-License-Identifier: Apache-2.0
#pragma once
// The small files that contain credentials.

#include <string>

#include "base/environment.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"

namespace streamer::core::inline auth {

// The home directory: HOME, or what the user database says. Empty if neither knows.
[[nodiscard]] std::string home_directory(const Environment& environment);

// All of a file; not_found if there is none. Fails with invalid_argument if it is longer than
// most_bytes.
Result<std::string> read_small_file(const std::string& path, std::size_t most_bytes);

// Replaces a file that others may be reading: they see the old or the new content, whole. Only this
// user may read it (mode 0600).
Result<void> replace_private_file(const std::string& path, std::string_view text);

// A token from a file: trimmed, at most most_bytes, without line breaks.
Result<Secret> read_token_file(const std::string& path, std::size_t most_bytes);

// Moves the credential file that an error is about into its message, because callers replace the
// error's URI with the object that was to be read.
[[nodiscard]] Error keep_place(Error error);
template <typename T>
Result<T> keep_place(Result<T> result) {
  if (result) return result;
  return keep_place(std::move(result).error());
}

}  // namespace streamer::core::inline auth
