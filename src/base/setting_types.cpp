// SPDX-License-Identifier: Apache-2.0
#include "base/setting_types.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/bytes.hpp"
#include "base/text.hpp"

namespace streamer::core::inline base {

namespace {

bool is_word(std::string_view word, std::string_view text) {
  return !word.empty() && text == word;
}

std::string or_word(std::string_view word, std::string_view rest) {
  if (word.empty()) return std::string(rest);
  const bool is_list = rest.find(", or ") != std::string_view::npos;
  return fmt::format("{}, {}{}", word, is_list ? "" : "or ", rest);
}

}  // namespace

std::optional<std::uint32_t> Count::read(std::string_view text) const {
  if (is_word(word, text)) return 0;
  const auto number = parse_unsigned(text);
  if (!number || *number < lowest || *number > highest) return std::nullopt;
  return static_cast<std::uint32_t>(*number);
}

std::string Count::values() const {
  return or_word(word, fmt::format("{} to {}{}", lowest, highest, unit));
}

std::optional<std::uint64_t> Bytes::read(std::string_view text) const {
  if (is_word(word, text) || is_word(second_word, text)) return 0;
  const auto number = parse_bytes(text);
  if (!number) return std::nullopt;
  if (bounds.are_soft) return std::clamp(*number, bounds.lowest, bounds.highest);
  if (*number < bounds.lowest || *number > bounds.highest) return std::nullopt;
  if (*number % bounds.multiple_of != 0) return std::nullopt;
  return number;
}

std::string Bytes::values() const {
  const std::string words =
      *second_word == '\0' ? word : fmt::format("{} (or {})", word, second_word);
  std::string rest = what;
  if (!bounds.are_soft && bounds.lowest > 1) rest += fmt::format(" from {}", bounds.lowest);
  if (!bounds.are_soft && bounds.highest != UINT64_MAX)
    rest += fmt::format(" to {}", bounds.highest);
  if (bounds.multiple_of == kPageBytes) rest += ", in whole pages";
  return or_word(words, rest);
}

std::optional<std::optional<std::uint64_t>> OptionalBytes::read(std::string_view text) const {
  if (text == word) return std::optional<std::uint64_t>();
  const auto number = parse_bytes(text);
  if (!number) return std::nullopt;
  return number;
}

std::string OptionalBytes::values() const {
  return or_word(word, "bytes");
}

std::optional<std::uint64_t> PowerOfTwo::read(std::string_view text) const {
  if (text == word) return 0;
  const auto number = parse_bytes(text);
  if (!number || *number == 0 || *number > highest || (*number & (*number - 1)) != 0)
    return std::nullopt;
  return number;
}

std::string PowerOfTwo::values() const {
  return or_word(word, fmt::format("a power of two up to {}", highest));
}

std::optional<std::chrono::milliseconds> Duration::read(std::string_view text) const {
  const auto number = parse_unsigned(text);
  if (!number || *number == 0 || *number > highest) return std::nullopt;
  return std::chrono::milliseconds(*number * unit_ms);
}

std::string Duration::values() const {
  return fmt::format("{}, 1 to {}", unit_ms == 1 ? "milliseconds" : "seconds", highest);
}

std::optional<OptionalDuration::Value> OptionalDuration::read(std::string_view text) const {
  if (text == word) return Value();
  const auto read = duration.read(text);
  if (!read) return std::nullopt;
  return Value(read);
}

std::string OptionalDuration::values() const {
  return or_word(word, duration.values());
}

std::optional<bool> YesOrNo::read(std::string_view text) const {
  for (const char* const yes : {"yes", "1", "true"}) {
    if (equal_ignoring_case(text, yes)) return true;
  }
  for (const char* const no : {"no", "0", "false"}) {
    if (equal_ignoring_case(text, no)) return false;
  }
  return std::nullopt;
}

std::string YesOrNo::values() const {
  return "yes (or 1), no (or 0)";
}

std::optional<Text::Value> Text::read(std::string_view text) const {
  if (text.empty()) return std::nullopt;
  return text == word ? Value() : Value(text);
}

std::string Text::values() const {
  return or_word(word, what);
}

std::optional<SecretText::Value> SecretText::read(std::string_view text) const {
  if (text.empty()) return std::nullopt;
  return text == "auto" ? Value() : Value(Secret(std::string(text)));
}

std::string SecretText::values() const {
  return or_word("auto", what);
}

namespace {

// What precedes the first colon; the rest is kept in text.
std::string_view take_part(std::string_view& text) {
  const std::size_t colon = std::min(text.find(':'), text.size());
  const std::string_view part = text.substr(0, colon);
  text.remove_prefix(std::min(colon + 1, text.size()));
  return part;
}

bool has(const char* part) {
  return *part != '\0';
}

// What as_credentials_part() was given. Any other % stands for itself.
std::string from_credentials_part(std::string_view part) {
  std::string text;
  while (!part.empty()) {
    const std::string_view three = part.substr(0, 3);
    const bool is_colon = equal_ignoring_case(three, "%3a");
    const bool is_escape = is_colon || three == "%25";
    text += is_colon ? ':' : part[0];
    part.remove_prefix(is_escape ? 3 : 1);
  }
  return text;
}

}  // namespace

std::string_view secret_in_form(const CredentialsForm& form, std::string_view text) {
  take_part(text);
  if (!has(form.secret)) return has(form.name) ? std::string_view() : text;
  // If there is one part where there should be two, it may be either.
  if (has(form.name) && text.find(':') != std::string_view::npos) take_part(text);
  return text;
}

std::optional<CredentialsParts> read_form(const CredentialsForm& form, std::string_view text) {
  std::string_view rest = text;
  take_part(rest);
  if (!has(form.name) && !has(form.secret) && text != form.word) return std::nullopt;
  const std::string_view name = !has(form.name)    ? ""
                                : has(form.secret) ? take_part(rest)
                                                   : std::exchange(rest, {});
  const std::string_view secret = !has(form.secret) ? ""
                                  : has(form.token) ? take_part(rest)
                                                    : std::exchange(rest, {});
  const std::string_view token = !has(form.token) ? "" : std::exchange(rest, {});
  const bool is_whole = name.empty() != has(form.name) && secret.empty() != has(form.secret) &&
                        token.empty() != has(form.token) && rest.empty();
  if (!is_whole) return std::nullopt;
  if (!has(form.name) || !has(form.secret)) {
    return CredentialsParts{std::string(name), Secret(std::string(secret)), Secret()};
  }
  return CredentialsParts{from_credentials_part(name), Secret(from_credentials_part(secret)),
                          Secret(std::string(token))};
}

std::string as_credentials_part(std::string_view text) {
  std::string part;
  for (const char c : text) {
    if (c == ':' || c == '%')
      part += c == ':' ? "%3A" : "%25";
    else
      part += c;
  }
  return part;
}

std::string to_text(const CredentialsForm& form) {
  std::string text = form.word;
  for (const char* const part : {form.name, form.secret, form.token}) {
    if (has(part)) text += fmt::format(":{}", part);
  }
  return text;
}

}  // namespace streamer::core::inline base
