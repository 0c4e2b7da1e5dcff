// SPDX-License-Identifier: Apache-2.0
#pragma once
// Small readings of text that more than one room needs.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace streamer::core::inline base {

[[nodiscard]] std::string_view trim(std::string_view text) noexcept;

// The whole of text as decimal digits; nullopt for anything else, overflow included.
[[nodiscard]] std::optional<std::uint64_t> parse_unsigned(std::string_view text) noexcept;

// "4096", "64KiB", "1.5 GiB", "2GB" (powers of 1000), in any case; nullopt for anything else.
[[nodiscard]] std::optional<std::uint64_t> parse_bytes(std::string_view text) noexcept;

// "1.50 GiB". For people, never for machines.
[[nodiscard]] std::string format_bytes(std::uint64_t bytes);

// ASCII letters only.
[[nodiscard]] std::string to_lower(std::string_view text);
[[nodiscard]] bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept;

// Every byte but A-Z a-z 0-9 - _ . ~ and those of `also_kept` as %XX, in upper case (RFC 3986 2.3).
[[nodiscard]] std::string percent_encode(std::string_view text, std::string_view also_kept = "");
// nullopt for a % that is not followed by two hexadecimal digits.
[[nodiscard]] std::optional<std::string> percent_decode(std::string_view text);

// fnmatch(3) with no flags: * ? [...], and * crosses '/'. Case-sensitive.
[[nodiscard]] bool glob_match(const std::string& pattern, const std::string& text) noexcept;

}  // namespace streamer::core::inline base
