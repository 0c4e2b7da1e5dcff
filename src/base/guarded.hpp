// SPDX-License-Identifier: Apache-2.0
#pragma once
// A value that can be reached only under its lock. Never on the byte path.

#include <mutex>
#include <utility>

namespace streamer::core::inline base {

template <typename T>
class Guarded {
 public:
  Guarded() = default;
  explicit Guarded(T value) : value_(std::move(value)) {}

  // Thread-safe. Returns what use(value) returns; the value must not escape.
  template <typename Use>
  auto with(Use&& use) {
    const std::lock_guard lock(mutex_);
    return std::forward<Use>(use)(value_);
  }
  template <typename Use>
  auto with(Use&& use) const {
    const std::lock_guard lock(mutex_);
    return std::forward<Use>(use)(value_);
  }

 private:
  mutable std::mutex mutex_;
  T value_{};
};

}  // namespace streamer::core::inline base
