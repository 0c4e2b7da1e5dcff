// SPDX-License-Identifier: Apache-2.0
#pragma once
// Everything that can be tuned, by name. LoadOptions has the common ones as fields.

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "result.hpp"

namespace streamer {

// What is set here wins over the environment, which is read when an operation starts, and which
// wins over the default. One thread at a time.
class Settings {
 public:
  Settings() = default;

  // An unknown name, and a value that the setting cannot have, are invalid_argument.
  Result<void> set(const std::string& name, const std::string& value) {
    streamer_error* error = nullptr;
    if (!settings_) {
      streamer_settings* made = nullptr;
      if (streamer_settings_new(&made, &error) != STREAMER_OK) return Error(error);
      settings_.reset(made);
    }
    if (streamer_settings_set(settings_.get(), name.c_str(), value.c_str(), &error) !=
        STREAMER_OK) {
      return Error(error);
    }
    return {};
  }

  // For streamer.h; NULL while nothing was set.
  const streamer_settings* get() const noexcept { return settings_.get(); }

 private:
  struct Free {
    void operator()(streamer_settings* settings) const noexcept {
      streamer_settings_free(settings);
    }
  };
  std::unique_ptr<streamer_settings, Free> settings_;
};

// The table of settings; strings are static.
inline std::vector<streamer_setting_info> all_settings() {
  std::vector<streamer_setting_info> rows(streamer_setting_count());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i] = STREAMER_SETTING_INFO_INIT;
    streamer_setting_get_info(i, &rows[i], nullptr);
  }
  return rows;
}

}  // namespace streamer
