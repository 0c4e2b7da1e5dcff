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
  [[nodiscard]] static std::string_view secret_in(std::string_view) { return {}; }
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
  [[nodiscard]] static std::string_view secret_in(std::string_view text) { return text; }
  [[nodiscard]] std::optional<Value> read(std::string_view text) const;
  [[nodiscard]] std::string values() const;
};

// How one kind of credentials is written: "WORD", "WORD:NAME", "WORD:SECRET", "WORD:NAME:SECRET" or
// "WORD:NAME:SECRET:TOKEN". What comes last may contain colons. In NAME and SECRET of the last two,
// %3A is a colon, and %25 a percent sign.
struct CredentialsForm {
  const char* word;
  const char* name = "";    // for humans; empty: this kind has none
  const char* secret = "";  // the same
  const char* token = "";   // the same; belongs to the secret
};

struct CredentialsParts {
  std::string name;  // of a key, a profile or a file: may be shown
  Secret secret;
  Secret token;
};

// What must not be shown of a text that begins with the form's word.
[[nodiscard]] std::string_view secret_in_form(const CredentialsForm& form, std::string_view text);
[[nodiscard]] std::optional<CredentialsParts> read_form(const CredentialsForm& form,
                                                        std::string_view text);
[[nodiscard]] std::string to_text(const CredentialsForm& form);
// A NAME or SECRET as those forms have it.
[[nodiscard]] std::string as_credentials_part(std::string_view text);

// One of several kinds of credentials; nullopt for "auto": look for some.
template <typename Kind, std::size_t N>
struct Credentials {
  static constexpr bool kIsSecret = true;
  struct Chosen : CredentialsParts {
    Kind kind;
  };
  using Value = std::optional<Chosen>;
  struct Form : CredentialsForm {
    Kind kind;
  };
  Form forms[N];

  constexpr explicit Credentials(const Form (&forms_in)[N]) : forms{} {
    for (std::size_t i = 0; i < N; ++i)
      forms[i] = forms_in[i];
  }
  // Of a text of no kind: all of it.
  [[nodiscard]] std::string_view secret_in(std::string_view text) const {
    if (text == "auto") return {};
    for (const Form& form : forms) {
      if (begins(form, text)) return secret_in_form(form, text);
    }
    return text;
  }
  [[nodiscard]] std::optional<Value> read(std::string_view text) const {
    if (text == "auto") return Value();
    for (const Form& form : forms) {
      if (!begins(form, text)) continue;
      std::optional<CredentialsParts> parts = read_form(form, text);
      if (!parts) return std::nullopt;
      return Value(Chosen{*std::move(parts), form.kind});
    }
    return std::nullopt;
  }
  [[nodiscard]] std::string values() const {
    std::string all = "auto";
    for (const Form& form : forms)
      all += (&form == &forms[N - 1] ? " or " : ", ") + to_text(form);
    return all;
  }

 private:
  static bool begins(const CredentialsForm& form, std::string_view text) {
    return text.substr(0, text.find(':')) == form.word;
  }
};

}  // namespace streamer::core::inline base
