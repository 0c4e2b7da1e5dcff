// SPDX-License-Identifier: Apache-2.0
#pragma once
// A value or an Error. The methods are named as in std::expected, which may replace it one day.

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <utility>
#include <variant>

#include "error.hpp"

namespace streamer {

#if defined(__cpp_exceptions)
// Thrown by value() when there is no value; what() is the error's line.
class BadResult : public std::runtime_error {
 public:
  explicit BadResult(const Error& error) : std::runtime_error(error.line()), kind_(error.kind()) {}
  ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};
#endif

namespace detail {

// For programs and tests that can only stop on an error.
#if defined(__cpp_exceptions)
[[noreturn]] inline void throw_bad_result(const Error& error) {
  throw BadResult(error);
}
#else
[[noreturn]] inline void abort_on_bad_result(const Error& error) {
  std::fprintf(stderr, "streamer: %s\n", error.line());
  std::abort();
}
#endif

// Always inline: a program may have files of both kinds, and each keeps its own way.
[[gnu::always_inline, noreturn]] inline void bad_result(const Error& error) {
#if defined(__cpp_exceptions)
  throw_bad_result(error);
#else
  abort_on_bad_result(error);
#endif
}

}  // namespace detail

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) noexcept : state_(std::in_place_index<1>, std::move(error)) {}

  bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  // Only after has_value().
  T& operator*() & noexcept { return *std::get_if<0>(&state_); }
  const T& operator*() const& noexcept { return *std::get_if<0>(&state_); }
  T&& operator*() && noexcept { return std::move(*std::get_if<0>(&state_)); }
  T* operator->() noexcept { return std::get_if<0>(&state_); }
  const T* operator->() const noexcept { return std::get_if<0>(&state_); }

  // Only after !has_value().
  Error& error() & noexcept { return *std::get_if<1>(&state_); }
  const Error& error() const& noexcept { return *std::get_if<1>(&state_); }
  Error&& error() && noexcept { return std::move(*std::get_if<1>(&state_)); }

  // The value; if there is none, throws BadResult, or ends the program where exceptions are off.
  [[gnu::always_inline]] T& value() & {
    if (!has_value()) detail::bad_result(error());
    return **this;
  }
  [[gnu::always_inline]] const T& value() const& {
    if (!has_value()) detail::bad_result(error());
    return **this;
  }
  [[gnu::always_inline]] T&& value() && {
    if (!has_value()) detail::bad_result(error());
    return *std::move(*this);
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() noexcept = default;
  Result(Error error) noexcept : error_(std::move(error)) {}

  bool has_value() const noexcept { return !error_.has_value(); }
  explicit operator bool() const noexcept { return has_value(); }

  Error& error() & noexcept { return *error_; }
  const Error& error() const& noexcept { return *error_; }
  Error&& error() && noexcept { return *std::move(error_); }

  [[gnu::always_inline]] void value() const {
    if (!has_value()) detail::bad_result(error());
  }

 private:
  std::optional<Error> error_;
};

}  // namespace streamer
