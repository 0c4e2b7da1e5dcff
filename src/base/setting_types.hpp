// SPDX-License-Identifier: Apache-2.0
#pragma once
// The types of settings. Each reads a text (nullopt: refused) and says what it accepts. A `word` is
// a text that stands for "no value": 0, nullopt.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/secret.hpp"

namespace streamer::core::inline base {

struct PlainType {
  static constexpr bool kIsSecret = false;
};

// A number of things: whole, and without a unit.
struct Count : PlainType {
  using Value = std::uint32_t;
  const char* word = "";
  std::uint32_t lowest = 1;
  std::uint32_t highest = UINT32_MAX;
  const char* unit = "";  // for humans

  constexpr Count(const char* word_in, std::uint32_t lowest_in, std::uint32_t highest_in,
                  const char* unit_in = "")
      : word(word_in), lowest(lowest_in), highest(highest_in), unit(unit_in) {}
  [[nodiscard]] std::optional<Value> read(std::string_view text) const;
  [[nodiscard]] std::string values() const;
};

struct ByteBounds {
  std::uint64_t lowest = 0;
  std::uint64_t highest = UINT64_MAX;
  std::uint64_t multiple_of = 1;
  bool are_soft = false;  // values beyond them are clamped
};

// A number of bytes, with a unit ("1.5GiB") or without.
struct Bytes : PlainType {
  using Value = std::uint64_t;
  const char* word = "";
  const char* second_word = "";
  const char* what = "bytes";
  ByteBounds bounds;

  constexpr explicit Bytes(const char* word_in = "", ByteBounds bounds_in = {},
                           const char* what_in = "bytes", const char* second_word_in = "")
      : word(word_in), second_word(second_word_in), what(what_in), bounds(bounds_in) {}
  [[nodiscard]] std::optional<Value> read(std::string_view text) const;
  [[nodiscard]] std::string values() const;
};

// The same, where 0 is a number like others.
struct OptionalBytes : PlainType {
  using Value = std::optional<std::uint64_t>;
  const char* word;

  constexpr explicit OptionalBytes(const char* word_in) : word(word_in) {}
  [[nodiscard]] std::optional<Value> read(std::string_view text) const;
  [[nodiscard]] std::string values() const;
};

struct PowerOfTwo : PlainType {
  using Value = std::uint64_t;
  const char* word;
  std::uint64_t highest;

  constexpr PowerOfTwo(const char* word_in, std::uint64_t highest_in)
      : word(word_in), highest(highest_in) {}
  [[nodiscard]] std::optional<Value> read(std::string_view text) const;
  [[nodiscard]] std::string values() const;
};

// A time in milliseconds or in seconds, which its setting's name ends with.
struct Duration : PlainType {
  using Value = std::chrono::milliseconds;
  std::uint32_t unit_ms;
  std::uint32_t highest;  // in that unit

  static constexpr Duration milliseconds_to(std::uint32_t highest) { return {1, highest}; }
  static constexpr Duration seconds_to(std::uint32_t highest) { return {1000, highest}; }
  [[nodiscard]] std::optional<Value> read(std::string_view text) const;
  [[nodiscard]] std::string values() const;

 private:
  constexpr Duration(std::uint32_t unit_ms_in, std::uint32_t highest_in)
      : unit_ms(unit_ms_in), highest(highest_in) {}
};

struct OptionalDuration : PlainType {
  using Value = std::optional<std::chrono::milliseconds>;
  const char* word;
  Duration duration;

  constexpr OptionalDuration(const char* word_in, Duration duration_in)
      : word(word_in), duration(duration_in) {}
  [[nodiscard]] std::optional<Value> read(std::string_view text) const;
  [[nodiscard]] std::string values() const;
};

struct YesOrNo : PlainType {
  using Value = bool;
  [[nodiscard]] std::optional<Value> read(std::string_view text) const;
  [[nodiscard]] std::string values() const;
};

// One of a few words, which may have a second form.
template <typename Enum, std::size_t N>
struct Choice : PlainType {
  using Value = Enum;
  struct Word {
    const char* word;
    Enum value;
    const char* also = nullptr;
  };
  Word words[N];

  constexpr explicit Choice(const Word (&words_in)[N]) : words{} {
    for (std::size_t i = 0; i < N; ++i)
      words[i] = words_in[i];
  }
  [[nodiscard]] std::optional<Value> read(std::string_view text) const {
    for (const Word& one : words) {
      if (text == one.word || (one.also != nullptr && text == one.also)) return one.value;
    }
    return std::nullopt;
  }
  [[nodiscard]] std::string values() const {
    std::string all;
    for (const Word& one : words) {
      if (!all.empty()) all += ", ";
      all += one.word;
      if (one.also != nullptr) all += std::string(" (or ") + one.also + ")";
    }
    return all;
  }
};

// A text that only its reader can check; nullopt for the word.
struct Text : PlainType {
  using Value = std::optional<std::string>;
  const char* what;
  const char* word;

  constexpr explicit Text(const char* what_in, const char* word_in = "auto")
      : what(what_in), word(word_in) {}
  [[nodiscard]] std::optional<Value> read(std::string_view text) const;
  [[nodiscard]] std::string values() const;
};

struct SecretText {
  static constexpr bool kIsSecret = true;
  using Value = std::optional<Secret>;
  const char* what;

  constexpr explicit SecretText(const char* what_in) : what(what_in) {}
  [[nodiscard]] std::optional<Value> read(std::string_view text) const;
  [[nodiscard]] std::string values() const;
};

}  // namespace streamer::core::inline base
