// SPDX-License-Identifier: Apache-2.0
#pragma once
// The settings given in code, and how values are found: a value set in code wins over the
// environment, which wins over the default.

#include <any>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/result.hpp"
#include "base/secret.hpp"
#include "base/setting.hpp"
#include "base/timestamp.hpp"

namespace streamer::core::inline base {

// Credentials that the program supplies, and is asked for again when they expire.
struct GivenCredentials {
  std::string access_key_id;
  Secret secret_access_key;
  Secret session_token;
  std::optional<SystemTime> expires;
  Secret bearer_token;
};
using CredentialsCallback = std::function<Result<GivenCredentials>()>;

// The settings of one scope as they were at one moment, all checked: reading one cannot fail. Made
// by Settings::read(); without that, all are their defaults.
template <Scope kScope>
class SettingValues {
 public:
  template <typename Type>
  [[nodiscard]] typename Type::Value get(const Setting<kScope, Type>& setting) const {
    const auto found = values_.find(&setting);
    if (found == values_.end()) return setting.default_value();
    return std::any_cast<typename Type::Value>(found->second);
  }
  // For deriving one load from another, and for tests. The value is not checked.
  template <typename Type>
  SettingValues& put(const Setting<kScope, Type>& setting,
                     std::type_identity_t<typename Type::Value> value) {
    values_.insert_or_assign(&setting, std::any(std::move(value)));
    return *this;
  }

 private:
  friend class Settings;
  std::map<const SettingRow*, std::any> values_;
};

class Settings {
 public:
  // Checks the value at once. With a prefix, which only store settings may have, it applies to URIs
  // that begin with it, and wins over a value without a prefix or with a shorter one.
  Result<void> set(const SettingRow& row, std::string_view value, std::string_view prefix = "");
  void set_credentials_callback(CredentialsCallback callback, std::string_view prefix);

  // The settings of a load: those its checkpoint was opened with (these), overridden by those given
  // to the load itself. Fails on settings that a load does not use, and says where they belong.
  [[nodiscard]] Result<Settings> for_load(const Settings& given) const;

  // Fails on the first that is of another scope, and says where it belongs.
  [[nodiscard]] Result<void> check_all_of(Scope scope) const;

  // The longest given prefix that uri begins with; empty if there is none.
  [[nodiscard]] std::string prefix_for(std::string_view uri) const;
  // The settings that apply to a URI, without prefixes.
  [[nodiscard]] Settings for_uri(std::string_view uri) const;

  // The value in force: set in code, or else in the environment, or else the default. The
  // environment is read now, not earlier; fails, naming the variable, on a value that set() would
  // refuse.
  template <Scope kScope, typename Type>
  [[nodiscard]] Result<typename Type::Value> get(const Setting<kScope, Type>& setting) const {
    return std::any_cast<typename Type::Value>(TRY(read_one(setting)));
  }
  // The same for all rows of one scope at once; rows of others are left alone.
  template <Scope kScope>
  [[nodiscard]] Result<SettingValues<kScope>> read(SettingRows rows) const {
    SettingValues<kScope> read;
    for (const SettingRow* const row : rows) {
      if (row->scope() == kScope) read.values_.emplace(row, TRY(read_one(*row)));
    }
    return read;
  }

  // The value's source, for humans: "the setting x", or the variable's name.
  [[nodiscard]] std::string source_of(const SettingRow& row) const;
  // Whether it was set in code, to something other than "auto".
  [[nodiscard]] bool is_in_code(const SettingRow& row) const;
  // nullptr if there is none.
  [[nodiscard]] std::shared_ptr<const CredentialsCallback> credentials_callback() const noexcept {
    return credentials_callback_;
  }

 private:
  using Values = std::map<const SettingRow*, std::string>;
  struct ForPrefix {
    Values values;
    std::shared_ptr<const CredentialsCallback> credentials_callback;
  };

  [[nodiscard]] Result<std::any> read_one(const SettingRow& row) const;

  Values values_;
  std::shared_ptr<const CredentialsCallback> credentials_callback_;
  // By prefix. The order of strings puts a longer one behind the shorter that it begins with.
  std::map<std::string, ForPrefix, std::less<>> for_prefix_;
};

// The row of that name; an error that names the nearest if there is none.
Result<const SettingRow*> find_setting(SettingRows rows, std::string_view name);

}  // namespace streamer::core::inline base
