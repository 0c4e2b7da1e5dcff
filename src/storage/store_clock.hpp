// SPDX-License-Identifier: Apache-2.0
#pragma once
// The time by which requests are signed: this machine's, until a store says that it is wrong.

#include <functional>
#include <optional>

#include "base/bytes.hpp"
#include "base/futex.hpp"
#include "base/guarded.hpp"
#include "base/timestamp.hpp"
#include "http/response.hpp"

namespace streamer::core::inline storage {

// Thread-safe.
class StoreClock {
 public:
  explicit StoreClock(std::function<SystemTime()> now) : now_(std::move(now)) {}

  [[nodiscard]] SystemTime now();

  // After an answer to a request signed at signed_at. True if its Date differs enough to be the
  // reason for a refusal: from then on, the store's time is used.
  bool correct(SystemTime signed_at, const ResponseHead& head);

 private:
  struct Said {
    SystemTime time{};
    SteadyTime at{};  // by a clock that is never set
  };
  const std::function<SystemTime()> now_;
  Guarded<std::optional<Said>> said_;
};

}  // namespace streamer::core::inline storage
