// SPDX-License-Identifier: Apache-2.0
#include "storage/uri.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/json.hpp"
#include "base/text.hpp"
namespace streamer::core {

namespace {

// What S3, Google Cloud Storage and Azure Blob have in common.
constexpr std::size_t kLongestKeyBytes = 1024;

Error bad_uri(std::string_view text, std::string_view why) {
  std::string shown;
  for (const char c : text.substr(0, 500)) {
    const auto byte = static_cast<unsigned char>(c);
    shown += byte < 0x20 || byte == 0x7F ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
  }
  return Error(ErrorKind::invalid_argument, fmt::format("\"{}\" is no usable URI: {}", shown, why));
}

bool is_scheme_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
}

// "S3" of "S3://bucket/key" in lower case; empty if text is a plain path (RFC 3986 3.1).
std::string scheme_of(std::string_view text) {
  const std::size_t colon = text.find("://");
  if (colon == std::string_view::npos || colon == 0) return {};
  const std::string scheme = to_lower(text.substr(0, colon));
  if (!std::all_of(scheme.begin(), scheme.end(), is_scheme_character)) return {};
  return scheme;
}

// The literal form of a store's objects: everything behind the first slash is the key.
Result<Uri> parse_object(std::string_view text, std::string_view scheme, std::string_view rest) {
  const std::string_view bucket = rest.substr(0, rest.find('/'));
  if (bucket.empty()) return bad_uri(text, "it names no bucket");
  // What stands before an @ may be a password: it is not shown.
  if (bucket.find('@') != std::string_view::npos)
    return bad_uri(text.substr(0, scheme.size() + 3), "user names do not belong in a URI");
  if (bucket.find(':') != std::string_view::npos)
    return bad_uri(text, "a bucket has no port; the endpoint is a setting");
  const std::string_view key = rest.substr(std::min(bucket.size() + 1, rest.size()));
  if (key.size() > kLongestKeyBytes) return bad_uri(text, "its key is longer than 1024 bytes");
  if (!is_valid_utf8(key)) return bad_uri(text, "its key is not UTF-8");
  return Uri(scheme == "s3a" ? "s3" : scheme, std::string(rest));
}

}  // namespace

Uri::Uri(std::string_view scheme, std::string path) : scheme_(scheme), path_(std::move(path)) {
  text_ = scheme_ == "file" ? path_ : fmt::format("{}://{}", scheme_, path_);
}

std::string_view Uri::bucket() const noexcept {
  return std::string_view(path_).substr(0, path_.find('/'));
}

std::string_view Uri::key() const noexcept {
  const std::size_t slash = path_.find('/');
  if (slash == std::string::npos) return {};
  return std::string_view(path_).substr(slash + 1);
}

std::string_view Uri::last_component() const noexcept {
  return std::string_view(path_).substr(path_.rfind('/') + 1);
}

Result<Uri> parse_uri(std::string_view text) {
  if (text.empty()) return bad_uri(text, "it is empty");
  if (text.find('\0') != std::string_view::npos) return bad_uri(text, "it holds a NUL byte");
  const std::string scheme = scheme_of(text);
  // A path of the file system is bytes: whatever it allows, we do.
  if (scheme.empty()) {
    if (text.starts_with("file:")) return bad_uri(text, "write file:///path, or the path alone");
    if (text.starts_with("s3:/") || text.starts_with("s3a:/"))
      return bad_uri(text, "write s3://bucket/key, with two slashes");
    return Uri("file", std::string(text));
  }
  const bool has_control = std::any_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
  });
  if (has_control) return bad_uri(text, "it holds a control character");
  const std::string_view rest = text.substr(scheme.size() + 3);
  if (scheme != "file") return parse_object(text, scheme, rest);
  if (!rest.starts_with("/"))
    return bad_uri(text, "a file of another machine cannot be read; write file:///path");
  auto path = percent_decode(rest);
  if (!path || path->find('\0') != std::string::npos)
    return bad_uri(text, "% must be followed by two hexadecimal digits, and not by 00");
  return Uri("file", *std::move(path));
}

Uri child(const Uri& uri, std::string_view name) {
  std::string path = uri.path();
  if (path.empty() || path.back() != '/') path += '/';
  return Uri(uri.scheme(), path.append(name));
}

Uri folder_of(const Uri& uri) {
  const std::size_t slash = uri.path().rfind('/');
  return Uri(uri.scheme(), slash == std::string::npos ? "." : uri.path().substr(0, slash + 1));
}

}  // namespace streamer::core
