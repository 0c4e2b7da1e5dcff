// SPDX-License-Identifier: Apache-2.0
#pragma once
// A source reads bytes: it claims chunks of a plan and lands them. It knows the landing, and
// nothing else of the load. The library's sources are listed in sources.cpp.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "engine/counters.hpp"
#include "engine/landing.hpp"
#include "engine/plan.hpp"
#include "engine/stats.hpp"

namespace streamer::core::inline engine {

// Owned by the load, which joins its threads before it destroys the source. Its constructor
// arguments outlive it.
class Source {
 public:
  virtual ~Source() = default;

  // The name of its threads: "read".
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  // How many threads it wants; it also works with one.
  [[nodiscard]] virtual std::uint32_t threads() const noexcept = 0;
  // Called if fewer could be started; some already run.
  virtual void set_threads(std::uint32_t threads) noexcept { static_cast<void>(threads); }

  // The body of thread `number`, below threads(). Returns once nothing is left to claim or the
  // landing has stopped, with nothing in flight that writes to memory. Failures are reported to
  // landing.fail(); only a failed allocation of buffers may be thrown.
  virtual void run(std::uint32_t number, ReaderCounters& mine) = 0;
  // Any thread, once the landing has stopped: ends waits of run() that the landing does not know
  // of.
  virtual void stop() noexcept {}

  // Any thread. Adds what none of its threads count.
  virtual void add_to(LoadStats& stats) const { static_cast<void>(stats); }
  [[nodiscard]] virtual std::string notes() const { return {}; }
};

// A source that reads everything of a load, in its own order: the plan then has no chunks. Other
// ranks may need its bytes, so it goes on until its thread ends by itself.
class OrderedSource : public Source {
 public:
  // list is ordered by object and offset. Puts it into the order in which its items will land, and
  // returns in how many pieces each lands: 0 only for items without bytes.
  virtual std::vector<std::uint32_t> arrange(ReadingList& list) = 0;
  // Whether the plan's memory is enough for the items that are in progress at once.
  [[nodiscard]] virtual Result<void> check(const Plan& plan) const = 0;
  // Called once, before it runs. landing outlives its threads.
  virtual void land_in(Landing& landing) = 0;
};

}  // namespace streamer::core::inline engine
