// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where an object is: a file, as "/path", "path" or "file:///path", or an object of a store, as
// "s3://bucket/key".

#include <string>
#include <string_view>

#include "base/result.hpp"

namespace streamer::core {

class Uri {
 public:
  Uri() = default;
  // path of a file: as given, percent-decoded after file://. Of an object: "bucket/key", literally.
  Uri(std::string_view scheme, std::string path);

  [[nodiscard]] const std::string& scheme() const noexcept { return scheme_; }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  // As it is shown to people; parse_uri() of it is the same URI.
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

  // Of an object: up to the first slash of the path, and what is behind it.
  [[nodiscard]] std::string_view bucket() const noexcept;
  [[nodiscard]] std::string_view key() const noexcept;
  // Behind the last slash of the path.
  [[nodiscard]] std::string_view last_component() const noexcept;

 private:
  std::string scheme_;
  std::string path_;
  std::string text_;
};

// Fails with invalid_argument and the reason: nothing at all, a NUL byte, file://host/path, a bad
// percent escape; beside a scheme: control characters, a user name or a port, no bucket, a key of
// more than 1024 bytes, a key that is not UTF-8. Percent escapes, '?' and '#' of a key are part of
// it. Whether a scheme has a store is Stores::of()'s answer.
Result<Uri> parse_uri(std::string_view text);

// uri with name added as one more component.
[[nodiscard]] Uri child(const Uri& uri, std::string_view name);

// What uri stands in, with a slash at its end.
[[nodiscard]] Uri folder_of(const Uri& uri);

}  // namespace streamer::core
