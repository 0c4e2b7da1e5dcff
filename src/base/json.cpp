// SPDX-License-Identifier: Apache-2.0
#include "base/json.hpp"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <cstring>

namespace streamer::core::inline base {

namespace ondemand = simdjson::ondemand;

namespace {

constexpr int kMostDepth = 128;  // as serde_json

}  // namespace

JsonText::JsonText(std::size_t size)
    : data_(std::make_unique_for_overwrite<char[]>(size + simdjson::SIMDJSON_PADDING)),
      size_(size) {
  std::memset(data_.get() + size, 0, simdjson::SIMDJSON_PADDING);
}

JsonText::JsonText(std::string_view text) : JsonText(text.size()) {
  std::copy(text.begin(), text.end(), data_.get());
}

struct JsonValue::Source {
  ondemand::document document;
  std::string_view text;

  Error error(std::string_view what) {
    const char* at = nullptr;
    const bool is_known = document.current_location().get(at) == simdjson::SUCCESS;
    if (!is_known) return Error(ErrorKind::corrupt, fmt::format("{} near the end", what));
    return Error(ErrorKind::corrupt, fmt::format("{} at byte {}", what, at - text.data()));
  }
  Error error(simdjson::error_code code) { return error(simdjson::error_message(code)); }
};

namespace {

ondemand::value& as_value(void* value) {
  return *static_cast<ondemand::value*>(value);
}

}  // namespace

Result<JsonKind> JsonValue::kind() {
  ondemand::json_type type{};
  if (const auto code = as_value(value_).type().get(type)) return source_.error(code);
  switch (type) {
    case ondemand::json_type::object:
      return JsonKind::object;
    case ondemand::json_type::array:
      return JsonKind::array;
    case ondemand::json_type::string:
      return JsonKind::string;
    case ondemand::json_type::number:
      return JsonKind::number;
    case ondemand::json_type::boolean:
      return JsonKind::boolean;
    case ondemand::json_type::null:
      return JsonKind::null;
    default:  // unknown, which simdjson has since version 4
      break;
  }
  return source_.error("a value was expected");
}

Result<void> JsonValue::members(const MemberVisitor& visit) {
  is_read_ = true;
  if (depth_ >= kMostDepth) return source_.error("nesting deeper than 128");
  ondemand::object object;
  if (const auto code = as_value(value_).get_object().get(object)) return source_.error(code);
  for (auto read : object) {
    ondemand::field field;
    if (const auto code = std::move(read).get(field)) return source_.error(code);
    std::string_view key;
    if (const auto code = field.unescaped_key().get(key)) return source_.error(code);
    ondemand::value inner = field.value();
    JsonValue value(source_, &inner, depth_ + 1);
    TRY(visit(key, value));
    if (!value.is_read_) TRY(value.skip());
  }
  return {};
}

Result<void> JsonValue::elements(const ElementVisitor& visit) {
  is_read_ = true;
  if (depth_ >= kMostDepth) return source_.error("nesting deeper than 128");
  ondemand::array array;
  if (const auto code = as_value(value_).get_array().get(array)) return source_.error(code);
  for (auto read : array) {
    ondemand::value inner;
    if (const auto code = std::move(read).get(inner)) return source_.error(code);
    JsonValue value(source_, &inner, depth_ + 1);
    TRY(visit(value));
    if (!value.is_read_) TRY(value.skip());
  }
  return {};
}

Result<std::string_view> JsonValue::string() {
  is_read_ = true;
  std::string_view text;
  if (const auto code = as_value(value_).get_string().get(text)) return source_.error(code);
  return text;
}

Result<std::uint64_t> JsonValue::unsigned_integer() {
  is_read_ = true;
  std::uint64_t number = 0;
  if (const auto code = as_value(value_).get_uint64().get(number)) return source_.error(code);
  return number;
}

Result<bool> JsonValue::boolean() {
  is_read_ = true;
  bool value = false;
  if (const auto code = as_value(value_).get_bool().get(value)) return source_.error(code);
  return value;
}

Result<void> JsonValue::skip() {
  is_read_ = true;
  const JsonKind what = TRY(kind());
  simdjson::error_code code = simdjson::SUCCESS;
  switch (what) {
    case JsonKind::object:
      return members([](std::string_view, JsonValue& value) { return value.skip(); });
    case JsonKind::array:
      return elements([](JsonValue& value) { return value.skip(); });
    case JsonKind::string:
      code = as_value(value_).get_string().error();
      break;
    case JsonKind::number:
      code = as_value(value_).get_double().error();
      break;
    case JsonKind::boolean:
      code = as_value(value_).get_bool().error();
      break;
    case JsonKind::null: {
      bool is_null = false;
      code = as_value(value_).is_null().get(is_null);
      if (code == simdjson::SUCCESS && !is_null) code = simdjson::N_ATOM_ERROR;
      break;
    }
  }
  if (code != simdjson::SUCCESS) return source_.error(code);
  return {};
}

Result<void> read_json(const JsonText& text, const JsonValue::ElementVisitor& visit) {
  return read_json(text, visit, [] { return Result<void>(); });
}

Result<void> read_json(const JsonText& text, const JsonValue::ElementVisitor& visit,
                       const std::function<Result<void>()>& after) {
  const std::string_view view = text.view();
  if (view.substr(0, 3) == "\xEF\xBB\xBF") {
    return Error(ErrorKind::corrupt, "the JSON begins with a byte order mark");
  }
  ondemand::parser parser;
  JsonValue::Source source{{}, view};
  const auto opened =
      parser.iterate(view.data(), view.size(), view.size() + simdjson::SIMDJSON_PADDING)
          .get(source.document);
  if (opened != simdjson::SUCCESS) {
    return Error(ErrorKind::corrupt, simdjson::error_message(opened));
  }
  ondemand::json_type type{};
  if (const auto code = source.document.type().get(type)) return source.error(code);
  if (type != ondemand::json_type::object && type != ondemand::json_type::array) {
    return source.error("an object or an array was expected");
  }
  ondemand::value root;
  if (const auto code = source.document.get_value().get(root)) return source.error(code);
  JsonValue value(source, &root, 0);
  TRY(visit(value));
  if (!value.is_read_) TRY(value.skip());
  // A location is known while there is something left to read.
  if (source.document.current_location().error() == simdjson::SUCCESS) {
    return source.error("something follows the JSON value");
  }
  return after();
}

std::string quote_json(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      quoted += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

bool is_valid_utf8(std::string_view text) noexcept {
  return simdjson::validate_utf8(text.data(), text.size());
}

}  // namespace streamer::core::inline base
