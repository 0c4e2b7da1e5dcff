// SPDX-License-Identifier: Apache-2.0
#include "base/text.hpp"

#include <fmt/format.h>
#include <fnmatch.h>

#include <array>
#include <charconv>

#include "base/bytes.hpp"

namespace streamer::core {

std::string_view trim(std::string_view text) noexcept {
  constexpr std::string_view kSpace = " \t\r\n\v\f";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::optional<std::uint64_t> parse_unsigned(std::string_view text) noexcept {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, failure] = std::from_chars(text.data(), end, value);
  if (failure != std::errc() || stop != end || text.empty()) return std::nullopt;
  return value;
}

namespace {

struct Unit {
  std::string_view suffix;
  std::uint64_t bytes;
};

constexpr std::array<Unit, 14> kUnits = {{
    {"", 1},
    {"b", 1},
    {"k", kKiB},
    {"kib", kKiB},
    {"kb", 1000ULL},
    {"m", kMiB},
    {"mib", kMiB},
    {"mb", 1000ULL * 1000},
    {"g", kGiB},
    {"gib", kGiB},
    {"gb", 1000ULL * 1000 * 1000},
    {"t", 1024 * kGiB},
    {"tib", 1024 * kGiB},
    {"tb", 1000ULL * 1000 * 1000 * 1000},
}};

}  // namespace

std::optional<std::uint64_t> parse_bytes(std::string_view text) noexcept {
  text = trim(text);
  const std::size_t digits_end = text.find_first_not_of("0123456789.");
  const std::string_view digits = text.substr(0, digits_end);
  const std::string_view suffix =
      digits_end == std::string_view::npos ? "" : trim(text.substr(digits_end));
  std::string lower(suffix);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  for (const Unit& unit : kUnits) {
    if (unit.suffix != lower) continue;
    if (const auto whole = parse_unsigned(digits)) return checked_multiply(*whole, unit.bytes);
    double number = 0;
    const char* const end = digits.data() + digits.size();
    const auto [stop, failure] = std::from_chars(digits.data(), end, number);
    if (failure != std::errc() || stop != end) return std::nullopt;
    const double bytes = number * static_cast<double>(unit.bytes);
    // 2^63: far above any memory, and exact as a double.
    if (!(bytes < 9223372036854775808.0)) return std::nullopt;
    return static_cast<std::uint64_t>(bytes);
  }
  return std::nullopt;
}

std::string format_bytes(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> kNames = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  auto value = static_cast<double>(bytes);
  while (value >= 1024 && unit + 1 < kNames.size()) {
    value /= 1024;
    ++unit;
  }
  if (unit == 0) return fmt::format("{} B", bytes);
  return fmt::format("{:.2f} {}", value, kNames[unit]);
}

bool glob_match(const std::string& pattern, const std::string& text) noexcept {
  return ::fnmatch(pattern.c_str(), text.c_str(), 0) == 0;
}

}  // namespace streamer::core
