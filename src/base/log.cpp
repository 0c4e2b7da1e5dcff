// SPDX-License-Identifier: Apache-2.0
#include "base/log.hpp"

#include <atomic>
#include <utility>

#include "base/clean_text.hpp"
#include "base/guarded.hpp"

namespace streamer::core::inline base {

namespace {

constinit std::atomic<std::int32_t> lowest_level{static_cast<std::int32_t>(LogLevel::off)};

struct Slot {
  LogSink sink;
  bool was_set = false;

  void set(LogLevel level, LogSink wanted) {
    const LogLevel lowest = wanted ? level : LogLevel::off;
    sink = std::move(wanted);
    was_set = true;
    lowest_level.store(static_cast<std::int32_t>(lowest), std::memory_order_relaxed);
  }
};

// Made on first use and never destroyed: a thread may log while the process ends.
Guarded<Slot>& sink_slot() {
  static auto* const slot = new Guarded<Slot>();
  return *slot;
}

}  // namespace

void set_log_sink(LogLevel level, LogSink sink) {
  sink_slot().with([&](Slot& slot) { slot.set(level, std::move(sink)); });
}

void set_first_log_sink(LogLevel level, LogSink sink) {
  sink_slot().with([&](Slot& slot) {
    if (!slot.was_set) slot.set(level, std::move(sink));
  });
}

bool log_enabled(LogLevel level) noexcept {
  return static_cast<std::int32_t>(level) >= lowest_level.load(std::memory_order_relaxed);
}

void log_line(LogLevel level, std::string_view line) {
  if (!log_enabled(level)) return;
  const std::string cleaned = clean_text(line);
  sink_slot().with([&](const Slot& slot) {
    if (slot.sink) slot.sink(level, cleaned);
  });
}

}  // namespace streamer::core::inline base
