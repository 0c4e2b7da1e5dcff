// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the library reports while it works. Silent until a callback is set or the environment names
// a file: see streamer_log_set() in streamer.h.

#include <cstdint>

#include "streamer.h"

namespace streamer {

enum class LogLevel : std::int32_t {
  trace = STREAMER_LOG_TRACE,
  debug = STREAMER_LOG_DEBUG,
  info = STREAMER_LOG_INFO,
  warning = STREAMER_LOG_WARNING,
  error = STREAMER_LOG_ERROR,
  off = STREAMER_LOG_OFF,
};

// Replaces the process's callback; nullptr turns logging off. The callback is called on any thread,
// one call at a time; it must not call into libstreamer or throw. Thread-safe.
inline void set_log(LogLevel level, streamer_log_callback callback, void* user = nullptr) noexcept {
  streamer_log_set(static_cast<std::int32_t>(level), callback, user);
}

}  // namespace streamer
