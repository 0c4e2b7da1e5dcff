// SPDX-License-Identifier: Apache-2.0
#pragma once
// The units that a rank reads itself, as an exchange takes them.

#include <cstddef>
#include <string>

#include "base/result.hpp"
#include "engine/stats.hpp"

namespace streamer::core {

class OwnUnits {
 public:
  virtual ~OwnUnits() = default;

  // One thread: the next unit of the schedule that is this rank's, dense; waits for it. Stays until
  // release().
  virtual Result<const std::byte*> take_next() = 0;
  // That thread. All that were taken.
  virtual void release() noexcept = 0;

  // Any thread: nobody needs what is still to be read, and who waits for it is woken.
  virtual void stop() noexcept = 0;
  virtual void add_to(LoadStats& stats) const = 0;
  [[nodiscard]] virtual std::string notes() const = 0;
};

}  // namespace streamer::core
