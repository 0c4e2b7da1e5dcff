// SPDX-License-Identifier: Apache-2.0
#pragma once
// Everything that can be tuned, by name. LoadOptions has the common ones as fields.

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "result.hpp"

namespace streamer {

// A value set here wins over the environment, which is read when an operation starts; the
// environment wins over the default. Loads inherit the settings their checkpoint was opened with.
// One thread at a time.
class Settings {
 public:
  Settings() = default;

  // invalid_argument for an unknown name or a value the setting does not allow.
  Result<void> set(const std::string& name, const std::string& value) {
    auto made = make();
    if (!made) return made;
    streamer_error* error = nullptr;
    if (streamer_settings_set(settings_.get(), name.c_str(), value.c_str(), &error) !=
        STREAMER_OK) {
      return Error(error);
    }
    return {};
  }

  // Sets a store setting only for URIs that begin with uri_prefix ("s3://bucket/"): wins over a
  // value without a prefix and over one with a shorter prefix.
  Result<void> set_for(const std::string& uri_prefix, const std::string& name,
                       const std::string& value) {
    auto made = make();
    if (!made) return made;
    streamer_error* error = nullptr;
    if (streamer_settings_set_for(settings_.get(), uri_prefix.c_str(), name.c_str(), value.c_str(),
                                  &error) != STREAMER_OK) {
      return Error(error);
    }
    return {};
  }

  // Asks callback for credentials, for s3://, gs:// and az:// URIs that begin with uri_prefix ("":
  // all of them). user must stay valid for as long as anything opened with these settings exists.
  Result<void> set_credentials_callback(const std::string& uri_prefix,
                                        streamer_credentials_callback callback, void* user) {
    auto made = make();
    if (!made) return made;
    streamer_error* error = nullptr;
    if (streamer_settings_set_credentials_callback(settings_.get(), uri_prefix.c_str(), callback,
                                                   user, &error) != STREAMER_OK) {
      return Error(error);
    }
    return {};
  }

  // For streamer.h; NULL while nothing has been set.
  const streamer_settings* get() const noexcept { return settings_.get(); }

 private:
  Result<void> make() {
    if (settings_) return {};
    streamer_settings* made = nullptr;
    streamer_error* error = nullptr;
    if (streamer_settings_new(&made, &error) != STREAMER_OK) return Error(error);
    settings_.reset(made);
    return {};
  }

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
