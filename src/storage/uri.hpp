// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where an object is. Today: files, as "/path", "path" or "file:///path".

#include <string>
#include <string_view>

#include "base/result.hpp"

namespace streamer::core {

struct Uri {
  std::string scheme;  // "file"
  std::string path;    // of a file: as given, percent-decoded after file://

  // As it is shown to people.
  [[nodiscard]] const std::string& text() const noexcept { return path; }
};

// Fails with invalid_argument and the reason: nothing at all, a NUL byte, file://host/path, a bad
// percent escape, control characters beside a scheme. Whether a scheme has a store is store_for()'s
// answer.
Result<Uri> parse_uri(std::string_view text);

// uri with name added as one more component.
[[nodiscard]] Uri child(const Uri& uri, std::string_view name);

}  // namespace streamer::core
