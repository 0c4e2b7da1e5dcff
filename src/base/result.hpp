// SPDX-License-Identifier: Apache-2.0
#pragma once
// A value or an Error. Method names are those of std::expected, so that it can become it.

#include <optional>
#include <utility>
#include <variant>

#include "base/error.hpp"

namespace streamer::core::inline base {

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  [[nodiscard]] bool has_value() const noexcept { return state_.index() == 0; }
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

  // Says where on the way out; no effect on a value.
  Result at(std::string_view uri, ByteRange range = {}) && {
    if (has_value()) return std::move(*this);
    return std::move(*std::get_if<1>(&state_)).at(uri, range);
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  [[nodiscard]] bool has_value() const noexcept { return !error_.has_value(); }
  explicit operator bool() const noexcept { return has_value(); }
  void operator*() const noexcept {}

  Error& error() & noexcept { return *error_; }
  const Error& error() const& noexcept { return *error_; }
  Error&& error() && noexcept { return std::move(*error_); }

  Result at(std::string_view uri, ByteRange range = {}) && {
    if (has_value()) return {};
    return std::move(*error_).at(uri, range);
  }

 private:
  std::optional<Error> error_;
};

}  // namespace streamer::core::inline base

// The value of a Result, or return its error from the enclosing function. One per statement.
#define TRY(expression)                                                \
  __extension__({                                                      \
    auto try_result = (expression);                                    \
    if (!try_result.has_value()) return std::move(try_result).error(); \
    *std::move(try_result);                                            \
  })
