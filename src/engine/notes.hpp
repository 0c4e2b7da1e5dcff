// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a load could not have and what it did instead: said once, in its stats and in the log.

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clean_text.hpp"
#include "base/guarded.hpp"
#include "base/log.hpp"

namespace streamer::core {

class Notes {
 public:
  // Thread-safe. A note that is there already is not added again.
  void add(std::string_view note) { add(LogLevel::info, note); }
  // The same of what people must know even if they do not look at stats.
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

}  // namespace streamer::core
