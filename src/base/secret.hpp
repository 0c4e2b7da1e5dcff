// SPDX-License-Identifier: Apache-2.0
#pragma once
// Text that is never printed by accident, is removed from every text that leaves the library, and
// is wiped from memory when it is destroyed.

#include <string.h>

#include <string>
#include <string_view>
#include <utility>

#include "base/clean_text.hpp"

namespace streamer::core::inline base {

class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string value) : value_(std::move(value)) {
    wipe(value);
    hide(value_);
  }
  Secret(const Secret&) = default;
  Secret(Secret&& other) noexcept : value_(std::move(other.value_)) { wipe(other.value_); }
  Secret& operator=(Secret other) noexcept {
    value_.swap(other.value_);
    return *this;
  }
  ~Secret() { wipe(value_); }

  // Named so that every use stands out.
  [[nodiscard]] std::string_view reveal() const noexcept { return value_; }
  [[nodiscard]] bool empty() const noexcept { return value_.empty(); }
  friend bool operator==(const Secret&, const Secret&) = default;

 private:
  static void wipe(std::string& text) noexcept {
    // Short texts live in the object itself, so all of the capacity counts, not the size.
    ::explicit_bzero(text.data(), text.capacity());
    text.clear();
  }

  std::string value_;
};

}  // namespace streamer::core::inline base
