// SPDX-License-Identifier: Apache-2.0
#include "storage/uri.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"
namespace streamer::core {

namespace {

Error bad_uri(std::string_view text, std::string_view why) {
  std::string shown;
  for (const char c : text.substr(0, 500)) {
    const auto byte = static_cast<unsigned char>(c);
    shown += byte < 0x20 || byte == 0x7F ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
  }
  return Error(ErrorKind::invalid_argument, fmt::format("\"{}\" is no usable URI: {}", shown, why));
}

bool is_scheme_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '+' ||
         c == '-' || c == '.';
}

// "S3" of "S3://bucket/key" in lower case; empty if text is a plain path (RFC 3986 3.1).
std::string scheme_of(std::string_view text) {
  const std::size_t colon = text.find("://");
  if (colon == std::string_view::npos || colon == 0) return {};
  std::string scheme(text.substr(0, colon));
  if (!std::all_of(scheme.begin(), scheme.end(), is_scheme_character)) return {};
  for (char& c : scheme) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return scheme;
}

}  // namespace

Result<Uri> parse_uri(std::string_view text) {
  if (text.empty()) return bad_uri(text, "it is empty");
  if (text.find('\0') != std::string_view::npos) return bad_uri(text, "it holds a NUL byte");
  const std::string scheme = scheme_of(text);
  // A path of the file system is bytes: whatever it allows, we do.
  if (scheme.empty()) {
    if (text.substr(0, 5) == "file:") return bad_uri(text, "write file:///path, or the path alone");
    return Uri{"file", std::string(text)};
  }
  const bool has_control = std::any_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
  });
  if (has_control) return bad_uri(text, "it holds a control character");
  const std::string_view rest = text.substr(scheme.size() + 3);
  if (scheme != "file") return Uri{scheme, std::string(rest)};
  if (rest.substr(0, 1) != "/") {
    return bad_uri(text, "a file of another machine cannot be read; write file:///path");
  }
  auto path = percent_decode(rest);
  if (!path || path->find('\0') != std::string::npos)
    return bad_uri(text, "% must be followed by two hexadecimal digits, and not by 00");
  return Uri{"file", *std::move(path)};
}

Uri child(const Uri& uri, std::string_view name) {
  Uri below = uri;
  if (below.path.empty() || below.path.back() != '/') below.path += '/';
  below.path += name;
  return below;
}

}  // namespace streamer::core
