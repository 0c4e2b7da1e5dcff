// SPDX-License-Identifier: Apache-2.0
#pragma once
// Checks whether an answer is the requested range. Pure.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/bytes.hpp"
#include "http/response.hpp"

namespace streamer::core::inline http {

// "bytes 0-9/100", "bytes 0-9/*", "bytes */100" (RFC 9110 14.4).
struct ContentRange {
  std::optional<ByteRange> range;
  std::optional<std::uint64_t> total;
};
[[nodiscard]] std::optional<ContentRange> parse_content_range(std::string_view value) noexcept;

// The version that a range must come from; empty fields are not known yet.
struct PinnedVersion {
  std::optional<std::uint64_t> size;
  std::string etag;             // opaque, as sent, quotes included
  std::string last_modified;    // stands in for an ETag that the store does not send
  std::string generation = {};  // of Google's JSON API; not compared if the answer names none
};

struct AcceptedRange {
  std::uint64_t bytes = 0;  // the exact length of the body
  PinnedVersion version;    // complete
};

struct RangeRefusal {
  enum class Why : std::uint8_t {
    not_success,     // an HTTP error, whose body says more
    bad_response,    // violates the rules of ranges; another connection may do better
    range_ignored,   // the whole object would come
    object_changed,  // another version than the pinned one
    encoded,         // compressed or transformed on the way
  };
  Why why;
  std::string text;
};

// wanted must not be empty. A range beyond the object's end is cut there.
[[nodiscard]] std::variant<AcceptedRange, RangeRefusal> check_range(const ResponseHead& head,
                                                                    ByteRange wanted,
                                                                    const PinnedVersion& pinned);

}  // namespace streamer::core::inline http
