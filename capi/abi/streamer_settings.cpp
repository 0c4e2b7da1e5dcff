// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "all_settings.hpp"
#include "base/log.hpp"
#include "boundary.hpp"

using namespace streamer::capi;
namespace core = streamer::core;

namespace {

const char* scope_name(core::Scope scope) noexcept {
  // In the order of Scope.
  constexpr const char* kNames[] = {"store", "checkpoint", "load", "ranks", "call", "process"};
  return kNames[static_cast<int>(scope)];
}

Result<core::GivenCredentials> ask(streamer_credentials_callback callback, void* user) {
  streamer_credentials given = STREAMER_CREDENTIALS_INIT;
  const int32_t outcome = callback(&given, user);
  if (outcome != 0) {
    return Error(
        ErrorKind::permission_denied,
        fmt::format("the program's callback gave no credentials (it returned {})", outcome));
  }
  core::GivenCredentials credentials;
  if (given.access_key_id != nullptr) credentials.access_key_id = given.access_key_id;
  if (given.secret_access_key != nullptr)
    credentials.secret_access_key = core::Secret(given.secret_access_key);
  if (given.bearer_token != nullptr) credentials.bearer_token = core::Secret(given.bearer_token);
  if (given.session_token != nullptr) credentials.session_token = core::Secret(given.session_token);
  if (given.expires_unix_s != 0)
    credentials.expires = core::SystemTime(std::chrono::seconds(given.expires_unix_s));
  return credentials;
}

}  // namespace

extern "C" {

void streamer_log_set(int32_t level, streamer_log_callback callback, void* user) {
  streamer_status status = guarded(nullptr, [&]() -> Result<streamer_status> {
    if (callback == nullptr || level < STREAMER_LOG_TRACE || level >= STREAMER_LOG_OFF) {
      core::set_log_sink(core::LogLevel::off, {});
      return STREAMER_OK;
    }
    const auto sink = [callback, user](core::LogLevel of, std::string_view line) {
      callback(static_cast<int32_t>(of), std::string(line).c_str(), user);
    };
    core::set_log_sink(static_cast<core::LogLevel>(level), sink);
    return STREAMER_OK;
  });
  static_cast<void>(status);  // without memory for it there is no log
}

streamer_status streamer_settings_new(streamer_settings** settings_out,
                                      streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(settings_out);
    *settings_out = new streamer_settings;
    return STREAMER_OK;
  });
}

streamer_status streamer_settings_set(streamer_settings* settings, const char* name,
                                      const char* value, streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(settings);
    STREAMER_REQUIRE(name);
    STREAMER_REQUIRE(value);
    TRY(set_by_name(settings->settings, name, value));
    return STREAMER_OK;
  });
}

streamer_status streamer_settings_set_for(streamer_settings* settings, const char* uri_prefix,
                                          const char* name, const char* value,
                                          streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(settings);
    STREAMER_REQUIRE(uri_prefix);
    STREAMER_REQUIRE(name);
    STREAMER_REQUIRE(value);
    TRY(set_by_name(settings->settings, name, value, uri_prefix));
    return STREAMER_OK;
  });
}

streamer_status streamer_settings_set_credentials_callback(streamer_settings* settings,
                                                           const char* uri_prefix,
                                                           streamer_credentials_callback callback,
                                                           void* user, streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(settings);
    STREAMER_REQUIRE(uri_prefix);
    STREAMER_REQUIRE(callback);
    settings->settings.set_credentials_callback([callback, user] { return ask(callback, user); },
                                                uri_prefix);
    return STREAMER_OK;
  });
}

void streamer_settings_free(streamer_settings* settings) {
  delete settings;
}

size_t streamer_setting_count(void) {
  return all_settings().size();
}

streamer_status streamer_setting_get_info(size_t index, streamer_setting_info* info_out,
                                          streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(info_out);
    if (index >= all_settings().size()) {
      return Error(ErrorKind::invalid_argument,
                   fmt::format("setting number {} is not below the count, {}", index,
                               all_settings().size()));
    }
    // Made once: what C gets is static.
    static const std::vector<std::string> values = [] {
      std::vector<std::string> all;
      for (const core::SettingRow* const row : all_settings())
        all.push_back(row->values());
      return all;
    }();
    const core::SettingRow& row = *all_settings()[index];
    streamer_setting_info info = STREAMER_SETTING_INFO_INIT;
    info.name = row.name();
    info.variable = row.variable();
    info.compatible_variable = row.also();
    info.default_value = row.default_text();
    info.values = values[index].c_str();
    info.meaning = row.meaning();
    info.is_secret = row.is_secret() ? 1 : 0;
    info.scope = scope_name(row.scope());
    TRY(copy_out(info, info_out));
    return STREAMER_OK;
  });
}

}  // extern "C"
