// SPDX-License-Identifier: Apache-2.0
#pragma once
// The address of an object: a file, as "/path", "path" or "file:///path", or an object of a store,
// as "s3://bucket/key".

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/secret.hpp"

namespace streamer::core::inline storage {

class Uri {
 public:
  Uri() = default;
  // path of a file: as given, percent-decoded after file://. Of an object: "bucket/key", literally.
  // Of an https object: "host/path", as it goes over the wire.
  Uri(std::string_view scheme, std::string path);

  // "file", "s3", "gs", "az", "https" or "http", however it was written.
  [[nodiscard]] const std::string& scheme() const noexcept { return scheme_; }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  // As it is shown to humans, without its secrets; parse_uri() of it gives the same URI except for
  // those.
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

  // For an object: the path up to its first slash, and the rest.
  [[nodiscard]] std::string_view bucket() const noexcept;
  [[nodiscard]] std::string_view key() const noexcept;
  // What follows the last slash of the path.
  [[nodiscard]] std::string_view last_component() const noexcept;

  // The host that the URI itself names, for an object of a cloud: "account.blob.core.windows.net".
  // Empty: where the settings say.
  [[nodiscard]] const std::string& host() const noexcept { return host_; }
  // What followed its '?': most likely a signature, so it is never shown.
  [[nodiscard]] std::string_view query() const noexcept { return query_.reveal(); }

  // The same store with another path.
  [[nodiscard]] Uri with_path(std::string path) const;

 private:
  friend class UriParser;

  void write_text();

  std::string scheme_;
  std::string path_;
  std::string text_;
  std::string host_;
  Secret query_;
  std::string root_;  // of the text: what stands for the first root_covers_ bytes of path
  std::size_t root_covers_ = 0;
  bool is_encoded_ = false;  // the text is a URL of a cloud: path is percent-encoded in it
};

// Fails with invalid_argument and the reason: nothing at all, a NUL byte, file://host/path, a bad
// percent escape; beside a scheme: control characters, a user name or a port, no bucket, a key of
// more than 1024 bytes, a key that is not UTF-8. Percent escapes, '?' and '#' of a key are part of
// it. URLs of the clouds' own hosts and abfss://container@account... stand for their objects.
// Whether a scheme has a store is Stores::of()'s answer.
Result<Uri> parse_uri(std::string_view text);

// uri with name added as one more component.
[[nodiscard]] Uri child(const Uri& uri, std::string_view name);

// The folder that contains uri, with a slash at its end.
[[nodiscard]] Uri folder_of(const Uri& uri);

}  // namespace streamer::core::inline storage
