// SPDX-License-Identifier: Apache-2.0
#include "http/range_check.hpp"

#include <fmt/format.h>

#include "base/text.hpp"

namespace streamer::core::inline http {

namespace {

using Why = RangeRefusal::Why;

RangeRefusal refuse(Why why, std::string text) {
  return {why, std::move(text)};
}

// Whether the bytes under one of the codings that a header names are the object's own. aws-chunked
// is named by clients that upload in signed chunks: some stores keep the name by mistake, although
// they have removed the chunks' frames.
bool is_plain_coding(std::string_view coding) {
  coding = trim(coding);
  return coding.empty() || equal_ignoring_case(coding, "identity") ||
         equal_ignoring_case(coding, "aws-chunked");
}

// Nothing between the store and this client may have changed the bytes.
std::optional<RangeRefusal> check_encoding(const ResponseHead& head) {
  for (const HttpHeader& header : head.headers) {
    if (header.name != "content-encoding") continue;
    std::string_view rest = header.value;
    while (!rest.empty()) {
      const std::size_t comma = std::min(rest.find(','), rest.size());
      if (!is_plain_coding(rest.substr(0, comma))) {
        return refuse(
            Why::encoded,
            fmt::format("the object is stored with Content-Encoding: {}, and ranges of it "
                        "are not ranges of the weights; store it without",
                        header.value.substr(0, 100)));
      }
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
  }
  // Google's mark of decompressive transcoding, which ignores ranges.
  const std::string_view transformed =
      head.header_or_empty("x-guploader-response-body-transformations");
  if (!transformed.empty() || head.header_or_empty("warning").starts_with("214")) {
    return refuse(Why::encoded, "the store or a proxy transformed the object on the way");
  }
  return std::nullopt;
}

std::optional<RangeRefusal> check_version(const ResponseHead& head, const PinnedVersion& pinned,
                                          PinnedVersion& seen) {
  seen.etag = head.header_or_empty("etag");
  seen.last_modified = head.header_or_empty("last-modified");
  if (!pinned.etag.empty() && seen.etag.empty()) {
    return refuse(Why::bad_response, "the answer has no ETag, but the first one had");
  }
  if (!pinned.etag.empty() && seen.etag != pinned.etag) {
    return refuse(
        Why::object_changed,
        fmt::format("its ETag was {} when it was opened and is now {}", pinned.etag, seen.etag));
  }
  const std::string_view generation = head.header_or_empty("x-goog-generation");
  if (!pinned.generation.empty() && !generation.empty() && generation != pinned.generation) {
    return refuse(Why::object_changed,
                  fmt::format("its generation was {} when it was opened and is now {}",
                              pinned.generation, generation.substr(0, 100)));
  }
  if (pinned.etag.empty() && !pinned.last_modified.empty() &&
      seen.last_modified != pinned.last_modified) {
    return refuse(Why::object_changed,
                  fmt::format("it was last modified \"{}\" when it was opened and \"{}\" now",
                              pinned.last_modified, seen.last_modified));
  }
  if (pinned.size && seen.size && *pinned.size != *seen.size) {
    return refuse(
        Why::object_changed,
        fmt::format("it had {} bytes when it was opened and now has {}", *pinned.size, *seen.size));
  }
  if (!seen.size) seen.size = pinned.size;
  return std::nullopt;
}

// Refuses a Content-Length that contradicts the range.
std::optional<RangeRefusal> check_length(const ResponseHead& head, std::uint64_t bytes) {
  // Every one: of several, libcurl would use the last.
  for (const HttpHeader& header : head.headers) {
    if (header.name != "content-length") continue;
    if (parse_unsigned(header.value) == bytes) continue;
    return refuse(Why::bad_response,
                  fmt::format("Content-Length is \"{}\" where {} bytes are expected",
                              header.value.substr(0, 40), bytes));
  }
  return std::nullopt;
}

std::variant<AcceptedRange, RangeRefusal> check_partial(const ResponseHead& head, ByteRange wanted,
                                                        const PinnedVersion& pinned) {
  if (to_lower(head.header_or_empty("content-type")).starts_with("multipart/byteranges"))
    return refuse(Why::bad_response, "the answer is multipart/byteranges");
  if (head.count("content-range") != 1) {
    return refuse(Why::bad_response, fmt::format("the answer has {} Content-Range headers",
                                                 head.count("content-range")));
  }
  const std::string_view text = head.header_or_empty("content-range");
  const auto content = parse_content_range(text);
  if (!content || !content->range || (!content->total && !pinned.size)) {
    return refuse(Why::bad_response, fmt::format("Content-Range is \"{}\"", text.substr(0, 100)));
  }
  AcceptedRange accepted;
  accepted.version.size = content->total;
  if (auto refusal = check_version(head, pinned, accepted.version)) return *std::move(refusal);
  // Exactly what was requested: the place of the bytes in memory follows from the request.
  const ByteRange got = *content->range;
  const std::uint64_t end = std::min(wanted.end(), *accepted.version.size);
  if (got.offset != wanted.offset || got.end() != end) {
    return refuse(Why::bad_response,
                  fmt::format("bytes {}-{} were requested, but Content-Range is \"{}\"",
                              wanted.offset, wanted.end() - 1, text.substr(0, 100)));
  }
  accepted.bytes = got.size;
  if (auto refusal = check_length(head, accepted.bytes)) return *std::move(refusal);
  return accepted;
}

// Several stores answer 200 if the range is the whole object.
std::variant<AcceptedRange, RangeRefusal> check_whole(const ResponseHead& head, ByteRange wanted,
                                                      const PinnedVersion& pinned) {
  AcceptedRange accepted;
  accepted.version.size = parse_unsigned(head.header_or_empty("content-length"));
  if (auto refusal = check_version(head, pinned, accepted.version)) return *std::move(refusal);
  const auto size = accepted.version.size;
  if (!size || head.count("content-length") != 1 || wanted.offset != 0 || wanted.end() < *size) {
    return refuse(
        Why::range_ignored,
        fmt::format("bytes {}-{} were requested, but the whole object was sent (200): "
                    "the store, or a proxy in front of it, does not support ranges; turn them "
                    "on, or copy the file with another program and load the copy",
                    wanted.offset, wanted.end() - 1));
  }
  accepted.bytes = *size;
  return accepted;
}

}  // namespace

std::optional<ContentRange> parse_content_range(std::string_view value) noexcept {
  value = trim(value);
  if (value.size() < 6 || !equal_ignoring_case(value.substr(0, 6), "bytes ")) return std::nullopt;
  value = trim(value.substr(6));
  const std::size_t slash = value.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const std::string_view range = value.substr(0, slash);
  const std::string_view total = value.substr(slash + 1);
  ContentRange parsed;
  if (total != "*") {
    parsed.total = parse_unsigned(total);
    if (!parsed.total) return std::nullopt;
  }
  if (range == "*") return parsed.total ? std::optional(parsed) : std::nullopt;
  const std::size_t dash = range.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto first = parse_unsigned(range.substr(0, dash));
  const auto last = parse_unsigned(range.substr(dash + 1));
  if (!first || !last || *last < *first || *last == UINT64_MAX) return std::nullopt;
  if (parsed.total && *last >= *parsed.total) return std::nullopt;
  parsed.range = ByteRange{*first, *last - *first + 1};
  return parsed;
}

std::variant<AcceptedRange, RangeRefusal> check_range(const ResponseHead& head, ByteRange wanted,
                                                      const PinnedVersion& pinned) {
  if (head.status != 200 && head.status != 206) {
    const bool is_strange = head.status < 400;
    return refuse(is_strange && head.status != 301 && head.status != 302 && head.status != 307 &&
                          head.status != 308
                      ? Why::bad_response
                      : Why::not_success,
                  fmt::format("the store answered {}", head.status));
  }
  if (auto refusal = check_encoding(head)) return *std::move(refusal);
  return head.status == 206 ? check_partial(head, wanted, pinned)
                            : check_whole(head, wanted, pinned);
}

}  // namespace streamer::core::inline http
