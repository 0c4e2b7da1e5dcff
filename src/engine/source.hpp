// SPDX-License-Identifier: Apache-2.0
#pragma once
// What brings bytes: claims chunks of a plan, and lands them. Knows the landing, and nothing else
// of the load. Sources of ours are listed in sources.cpp.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "engine/counters.hpp"
#include "engine/landing.hpp"
#include "engine/plan.hpp"
#include "engine/stats.hpp"

namespace streamer::core {

// Owned by the load, which joins its threads before it goes. What it was made with outlives it.
class Source {
 public:
  virtual ~Source() = default;

  // Of its threads: "read".
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  // How many threads it wants; one is enough for it.
  [[nodiscard]] virtual std::uint32_t threads() const noexcept = 0;
  // Fewer could be started, and others run already.
  virtual void set_threads(std::uint32_t threads) noexcept { static_cast<void>(threads); }

  // The body of its thread `number`, of as many as threads() says. Returns once nothing is left to
  // claim or the landing stopped, with nothing under way that writes to memory. A failure is
  // landing.fail(); one of memory for buffers may also be thrown.
  virtual void run(std::uint32_t number, ReaderCounters& mine) = 0;
  // Any thread, once the landing stopped: ends what run() may be waiting for in places that the
  // landing does not know.
  virtual void stop() noexcept {}

  // Any thread. What no thread of it counts.
  virtual void add_to(LoadStats& stats) const { static_cast<void>(stats); }
  [[nodiscard]] virtual std::string notes() const { return {}; }
};

// A source that brings everything of a load, in an order of its own: the plan has no chunks then.
// Others may need what it has, so that it goes on until its thread ends by itself.
class OrderedSource : public Source {
 public:
  // list comes by object and offset. Puts it in the order in which its items will land, and returns
  // in how many pieces each of them does: 0 only for those without bytes.
  virtual std::vector<std::uint32_t> arrange(ReadingList& list) = 0;
  // Whether the plan's memory is enough for what is under way at once.
  [[nodiscard]] virtual Result<void> check(const Plan& plan) const = 0;
  // Once, before it runs. landing outlives its threads.
  virtual void land_in(Landing& landing) = 0;
};

}  // namespace streamer::core
