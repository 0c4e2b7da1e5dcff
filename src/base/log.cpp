// SPDX-License-Identifier: Apache-2.0
#include "base/log.hpp"

#include <atomic>
#include <utility>

#include "base/guarded.hpp"

namespace streamer::core {

namespace {

constinit std::atomic<std::int32_t> lowest_level{static_cast<std::int32_t>(LogLevel::off)};

// Made on first use and never destroyed: a thread may log while the process ends.
Guarded<LogSink>& sink_slot() {
  static auto* const slot = new Guarded<LogSink>();
  return *slot;
}

}  // namespace

void set_log_sink(LogLevel level, LogSink sink) {
  sink_slot().with([&](LogSink& current) {
    const LogLevel lowest = sink ? level : LogLevel::off;
    current = std::move(sink);
    lowest_level.store(static_cast<std::int32_t>(lowest), std::memory_order_relaxed);
  });
}

bool log_enabled(LogLevel level) noexcept {
  return static_cast<std::int32_t>(level) >= lowest_level.load(std::memory_order_relaxed);
}

void log_line(LogLevel level, std::string_view line) {
  if (!log_enabled(level)) return;
  sink_slot().with([&](const LogSink& sink) {
    if (sink) sink(level, line);
  });
}

}  // namespace streamer::core
