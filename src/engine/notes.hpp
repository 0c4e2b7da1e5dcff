// SPDX-License-Identifier: Apache-2.0
#pragma once
// What was not available to a load and what it did instead: said once, in its stats and in the log.

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clean_text.hpp"
#include "base/guarded.hpp"
#include "base/log.hpp"

namespace streamer::core::inline engine {

class Notes {
 public:
  // Thread-safe. The same note is added only once.
  void add(std::string_view note) { add(LogLevel::info, note); }
  // The same, also as a warning in the log, for what users must know even if they ignore stats.
  void warn(std::string_view note) { add(LogLevel::warning, note); }

  // Thread-safe. One line each.
  [[nodiscard]] std::string text() const {
    return notes_.with([](const std::vector<std::string>& notes) {
      std::string text;
      for (const std::string& note : notes)
        text += note + "\n";
      return text;
    });
  }

 private:
  void add(LogLevel level, std::string_view text) {
    std::string note = clean_text(text);
    notes_.with([&](std::vector<std::string>& notes) {
      if (std::find(notes.begin(), notes.end(), note) != notes.end()) return;
      log_line(level, note);
      notes.push_back(std::move(note));
    });
  }

  mutable Guarded<std::vector<std::string>> notes_;
};

}  // namespace streamer::core::inline engine
