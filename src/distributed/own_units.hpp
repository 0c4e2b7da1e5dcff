// SPDX-License-Identifier: Apache-2.0
#pragma once
// The units that a rank reads itself, as an exchange consumes them.

#include <cstddef>
#include <string>

#include "base/result.hpp"
#include "engine/stats.hpp"

namespace streamer::core::inline distributed {

class OwnUnits {
 public:
  virtual ~OwnUnits() = default;

  // One thread: waits for and returns this rank's next unit of the schedule, dense. Valid until
  // release().
  virtual Result<const std::byte*> take_next() = 0;
  // The same thread: releases all units taken.
  virtual void release() noexcept = 0;
  // Instead: their memory is never used for anything else, even when this is gone.
  virtual void keep_taken() noexcept = 0;

  // Any thread: the remaining units are not needed; wakes a thread that waits for one.
  virtual void stop() noexcept = 0;
  virtual void add_to(LoadStats& stats) const = 0;
  [[nodiscard]] virtual std::string notes() const = 0;
};

}  // namespace streamer::core::inline distributed
