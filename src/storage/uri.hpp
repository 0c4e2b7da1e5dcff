// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where an object is. Today: files, as "/path", "path" or "file:///path".

#include <string>
#include <string_view>

#include "base/result.hpp"

namespace streamer::core {

struct Uri {
  std::string scheme;  // "file"
  std::string path;    // of the file system, as given; for file:// percent-decoded

  // As it is shown to people: a file is its plain path.
  [[nodiscard]] const std::string& text() const noexcept { return path; }
};

// Refuses what is no URI that we know (an unknown scheme, file://host/p, control characters, invalid
// UTF-8, nothing at all) with the reason.
Result<Uri> parse_uri(std::string_view text);

// uri with name added as one more component.
[[nodiscard]] Uri child(const Uri& uri, std::string_view name);

}  // namespace streamer::core
