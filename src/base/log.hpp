// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the library reports while it works. Silent until a sink is set.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace streamer::core::inline base {

enum class LogLevel : std::int32_t {
  trace = 0,
  debug = 1,
  info = 2,
  warning = 3,
  error = 4,
  off = 5
};

using LogSink = std::function<void(LogLevel level, std::string_view line)>;

// Thread-safe. Replaces the process's sink; lines below level are not made. An empty sink or
// LogLevel::off turns logging off; on return the old sink is no longer running.
void set_log_sink(LogLevel level, LogSink sink);
// The same, unless set_log_sink() was called before.
void set_first_log_sink(LogLevel level, LogSink sink);

// Thread-safe, one relaxed load. Ask before building a costly line.
[[nodiscard]] bool log_enabled(LogLevel level) noexcept;

// Thread-safe. Secrets are removed from the line (base/clean_text.hpp).
void log_line(LogLevel level, std::string_view line);

}  // namespace streamer::core::inline base
