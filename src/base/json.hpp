// SPDX-License-Identifier: Apache-2.0
#pragma once
// A strict reader of JSON, as strict as serde_json: one pass, everything checked, also what is
// skipped. Refused beside plain syntax errors: a byte order mark, anything but white space behind
// the value, raw control characters, lone surrogates, numbers beyond a double, nesting deeper than
// 128.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace streamer::core::inline base {

// Text to be read, with the bytes behind it that the parser may look at.
class JsonText {
 public:
  // Not filled in yet, but for the padding.
  explicit JsonText(std::size_t size);
  explicit JsonText(std::string_view text);

  [[nodiscard]] char* data() noexcept { return data_.get(); }
  [[nodiscard]] std::string_view view() const noexcept { return {data_.get(), size_}; }

 private:
  std::unique_ptr<char[]> data_;
  std::size_t size_;
};

enum class JsonKind { object, array, string, number, boolean, null };

// One value, to be read once, while read_json() runs. A value that its visitor leaves alone is
// skipped.
class JsonValue {
 public:
  using MemberVisitor = std::function<Result<void>(std::string_view key, JsonValue& value)>;
  using ElementVisitor = std::function<Result<void>(JsonValue& value)>;

  [[nodiscard]] Result<JsonKind> kind();

  // In the order of the text; keys with escapes resolved, the same key as often as it stands there.
  Result<void> members(const MemberVisitor& visit);
  Result<void> elements(const ElementVisitor& visit);
  // Escapes resolved; valid until read_json() returns.
  Result<std::string_view> string();
  // Decimal digits that fit in 64 bits: no sign, no fraction, no exponent.
  Result<std::uint64_t> unsigned_integer();
  Result<bool> boolean();
  // Checks the value and everything in it.
  Result<void> skip();

  struct Source;  // what the parser gives; only json.cpp knows it
  JsonValue(Source& source, void* value, int depth) noexcept
      : source_(source), value_(value), depth_(depth) {}

 private:
  friend Result<void> read_json(const JsonText&, const ElementVisitor&,
                                const std::function<Result<void>()>&);

  Source& source_;
  void* value_;
  int depth_;
  bool is_read_ = false;
};

// Calls visit with the top-level value, which must be an object or an array, and then, once all of
// the text was checked, after(): strings are still valid in it. Errors are corrupt and say at which
// byte.
Result<void> read_json(const JsonText& text, const JsonValue::ElementVisitor& visit,
                       const std::function<Result<void>()>& after);
Result<void> read_json(const JsonText& text, const JsonValue::ElementVisitor& visit);

// A text as a JSON string, in quotes.
[[nodiscard]] std::string quote_json(std::string_view text);

[[nodiscard]] bool is_valid_utf8(std::string_view text) noexcept;

}  // namespace streamer::core::inline base
