// SPDX-License-Identifier: Apache-2.0
#pragma once
// Environment variables, by a function that tests can replace.

#include <cstdlib>
#include <functional>
#include <optional>
#include <string>

#include "base/clean_text.hpp"

namespace streamer::core::inline base {

// The value of a variable; nullopt if it is not set or empty.
using Environment = std::function<std::optional<std::string>(const char* name)>;

// The process's environment, read at the moment of the call. Empty in a program that runs with more
// privileges than its user (secure_getenv(3)).
[[nodiscard]] inline Environment process_environment() {
  return [](const char* name) -> std::optional<std::string> {
    const char* const value = ::secure_getenv(name);
    if (value == nullptr || *value == '\0') return std::nullopt;
    hide_value_of(name, value);
    return value;
  };
}

}  // namespace streamer::core::inline base
