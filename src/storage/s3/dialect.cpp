// SPDX-License-Identifier: Apache-2.0
#include "storage/s3/dialect.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"
#include "base/xml.hpp"

namespace streamer::core::inline storage {

namespace {

// "a+b%2F", encoded as in forms: the result of encoding-type=url.
std::string decode_form(std::string_view text) {
  std::string spaced(text);
  std::replace(spaced.begin(), spaced.end(), '+', ' ');
  return percent_decode(spaced).value_or(std::string(text));
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
  if (!token.empty()) parameters.emplace_back("continuation-token", token);
  return parameters;
}

Result<std::optional<Page>> read_list_bucket_result(const Uri& folder, std::string_view body) {
  const XmlElement root = TRY(read_xml(body));
  if (root.name == "Error") return std::optional<Page>();
  if (root.name != "ListBucketResult") return bad_page("its root is " + root.name.substr(0, 60));
  const bool is_encoded = root.text_of("EncodingType") == "url";
  const auto uri_of = [&](std::string_view key) {
    return folder.with_path(
        fmt::format("{}/{}", folder.bucket(), is_encoded ? decode_form(key) : std::string(key)));
  };
  Page page;
  for (const XmlElement& element : root.children) {
    if (element.name == "CommonPrefixes") {
      page.entries.push_back({uri_of(element.text_of("Prefix")), 0, true, {}});
    } else if (element.name == "Contents") {
      const auto size = parse_unsigned(trim(element.text_of("Size")));
      if (!size) return bad_page("a key has no size");
      page.entries.push_back({uri_of(element.text_of("Key")), *size, false,
                              std::string(trim(element.text_of("ETag")))});
    }
  }
  if (equal_ignoring_case(trim(root.text_of("IsTruncated")), "true")) {
    page.next = root.text_of("NextContinuationToken");
    if (page.next.empty()) return bad_page("it says that there is more but not how to ask for it");
  }
  return std::optional(std::move(page));
}

void add_range_headers(std::vector<HttpHeader>& headers, ByteRange range, const std::string& etag) {
  headers.push_back({"Range", fmt::format("bytes={}-{}", range.offset, range.end() - 1)});
  // If-Match compares strongly (RFC 9110 13.1.1), so that a weak ETag would never match.
  if (!etag.empty() && !etag.starts_with("W/")) headers.push_back({"If-Match", etag});
}

}  // namespace streamer::core::inline storage
