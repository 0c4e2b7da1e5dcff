// SPDX-License-Identifier: Apache-2.0
#include "storage/s3/dialect.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.hpp"
#include "base/xml.hpp"

namespace streamer::core::inline storage {

namespace {

// In the place of a continuation token, before the key to go on behind: for stores that answer as
// ListObjects does. No token has a line break.
constexpr std::string_view kBehind = "\n";

// How the keys of a page are encoded. encoding-type=url means as in forms: "a+b%2F"; but some
// stores leave "+" as it is, some ignore the parameter, some of these claim otherwise, and some
// encode without a word.
enum class KeyCoding { none, percent, form };

std::string decode(std::string_view text, KeyCoding coding) {
  if (coding == KeyCoding::none) return std::string(text);
  std::string spaced(text);
  if (coding == KeyCoding::form) std::replace(spaced.begin(), spaced.end(), '+', ' ');
  return percent_decode(spaced).value_or(std::string(text));
}

// Bytes that no encoding leaves in a URL.
bool is_plainly_raw(std::string_view key) {
  return std::any_of(key.begin(), key.end(), [](char c) {
    return static_cast<unsigned char>(c) <= ' ' || static_cast<unsigned char>(c) >= 0x7f ||
           c == '"' || c == '<' || c == '>';
  });
}

// The coding with which all keys begin as the folder does; if several do, what the page claims.
KeyCoding coding_of(const std::vector<std::string_view>& keys, std::string_view prefix,
                    bool claims_url) {
  const auto any = [&](const auto& is) { return std::any_of(keys.begin(), keys.end(), is); };
  const bool spells_spaces =
      any([](std::string_view key) { return key.find("%20") != std::string_view::npos; });
  const KeyCoding likely = spells_spaces ? KeyCoding::percent : KeyCoding::form;
  const KeyCoding other = spells_spaces ? KeyCoding::form : KeyCoding::percent;
  if (any(is_plainly_raw)) return KeyCoding::none;
  const std::array order = claims_url ? std::array{likely, other, KeyCoding::none}
                                      : std::array{KeyCoding::none, likely, other};
  for (const KeyCoding coding : order) {
    if (!any([&](std::string_view key) { return !decode(key, coding).starts_with(prefix); }))
      return coding;
  }
  return order.front();
}

// In quotes, as the header has it, whether or not the listing has them.
std::string etag_of(std::string_view text) {
  text = trim(text);
  if (text.empty() || text.starts_with('"') || text.starts_with("W/")) return std::string(text);
  return fmt::format("\"{}\"", text);
}

Error bad_page(std::string_view why) {
  return Error(ErrorKind::corrupt, std::string(why));
}

}  // namespace

Parameters list_parameters(const Uri& folder, ListDepth depth, std::uint64_t most,
                           const std::string& token) {
  Parameters parameters = {{"list-type", "2"},
                           {"encoding-type", "url"},
                           {"prefix", std::string(folder.key())},
                           {"max-keys", std::to_string(most)}};
  if (depth == ListDepth::children) parameters.emplace_back("delimiter", "/");
  if (token.starts_with(kBehind)) {
    // Each version of the listing ignores the other's.
    for (const char* const name : {"marker", "start-after"})
      parameters.emplace_back(name, token.substr(kBehind.size()));
  } else if (!token.empty()) {
    parameters.emplace_back("continuation-token", token);
  }
  return parameters;
}

Result<std::optional<Page>> read_list_bucket_result(const Uri& folder, std::string_view body) {
  const XmlElement root = TRY(read_xml(body));
  if (root.name == "Error") return std::optional<Page>();
  if (!root.name.starts_with("ListBucket"))
    return bad_page("its root is " + root.name.substr(0, 60));
  struct Row {
    std::string_view key;
    const XmlElement* object;  // nullptr: a folder
  };
  std::vector<Row> rows;
  std::vector<std::string_view> keys;
  const auto add = [&](std::string_view key, const XmlElement* object) {
    // Some stores end a listing with an empty element.
    if (key.empty()) return;
    rows.push_back({key, object});
    keys.push_back(key);
  };
  for (const XmlElement& element : root.children) {
    if (element.name == "Contents") add(element.text_of("Key"), &element);
    if (element.name != "CommonPrefixes") continue;
    for (const XmlElement& inner : element.children) {
      if (inner.name == "Prefix") add(inner.text, nullptr);
    }
  }
  const KeyCoding coding =
      coding_of(keys, folder.key(), equal_ignoring_case(root.text_of("EncodingType"), "url"));
  Page page;
  std::string last;
  for (const Row& row : rows) {
    const std::string key = decode(row.key, coding);
    if (!key.starts_with(folder.key()))
      return bad_page(
          fmt::format("it lists a key that does not begin with the prefix that was "
                      "asked for: {}",
                      key.substr(0, 100)));
    last = std::max(last, key);
    const Uri uri = folder.with_path(fmt::format("{}/{}", folder.bucket(), key));
    if (row.object == nullptr) {
      page.entries.push_back({uri, 0, true, {}});
      continue;
    }
    const auto size = parse_unsigned(trim(row.object->text_of("Size")));
    if (!size) return bad_page("a key has no size");
    page.entries.push_back({uri, *size, false, etag_of(row.object->text_of("ETag"))});
  }
  const std::string_view token = root.text_of("NextContinuationToken");
  const bool says_so = root.child("IsTruncated") != nullptr;
  const bool is_truncated =
      says_so ? equal_ignoring_case(trim(root.text_of("IsTruncated")), "true") : !token.empty();
  if (!is_truncated) return std::optional(std::move(page));
  page.next = token;
  if (!page.next.empty()) return std::optional(std::move(page));
  // As ListObjects answers: behind its marker or, without one, behind the last key.
  const std::string_view marker = root.text_of("NextMarker");
  const std::string behind = marker.empty() ? last : decode(marker, coding);
  if (behind.empty()) return bad_page("it says that there is more but not how to ask for it");
  page.next = std::string(kBehind) + behind;
  return std::optional(std::move(page));
}

void add_range_headers(std::vector<HttpHeader>& headers, ByteRange range, const std::string& etag) {
  headers.push_back({"Range", fmt::format("bytes={}-{}", range.offset, range.end() - 1)});
  // If-Match compares strongly (RFC 9110 13.1.1), so that a weak ETag would never match.
  if (!etag.empty() && !etag.starts_with("W/")) headers.push_back({"If-Match", etag});
}

}  // namespace streamer::core::inline storage
