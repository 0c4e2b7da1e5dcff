// SPDX-License-Identifier: Apache-2.0
#pragma once
// Who brings a load's bytes when its own readers do not.

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "engine/load_core.hpp"
#include "engine/plan.hpp"
#include "engine/stats.hpp"

namespace streamer::core {

class Feeder {
 public:
  virtual ~Feeder() = default;

  // list comes by object and offset. Puts it in the order in which its items will land, and returns
  // in how many pieces each of them does: 0 only for those without bytes.
  virtual std::vector<std::uint32_t> arrange(ReadingList& list) = 0;
  // Whether the plan's memory is enough for what is under way at once.
  [[nodiscard]] virtual Result<void> check(const Plan& plan) const = 0;

  // On a thread of the load: brings everything, with core.item_landed() for each piece, or stops
  // when the load does. Failures are core.fail().
  virtual void feed(LoadCore& core, ReaderCounters& mine) = 0;
  // Any thread, once core is stopped: ends what feed() may be waiting for.
  virtual void stop() noexcept = 0;

  // Any thread. What it read and passed on itself.
  virtual void add_to(LoadStats& stats) const = 0;
  [[nodiscard]] virtual std::string notes() const = 0;
};

}  // namespace streamer::core
