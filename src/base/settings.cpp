// SPDX-License-Identifier: Apache-2.0
#include "base/settings.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <vector>

#include "base/clean_text.hpp"
#include "base/nearest.hpp"
#include "base/text.hpp"

namespace streamer::core::inline base {

namespace {

// Of a value that may be a secret, or have one in it, only the kind that it begins with.
std::string shown_of(std::string_view value, const SettingRow& row) {
  if (!row.is_secret()) return std::string(value);
  const std::size_t colon = value.find(':');
  if (colon == std::string_view::npos || colon == 0) return "***";
  const std::string kind(value.substr(0, colon + 1));
  return row.values().find(kind) == std::string::npos ? "***" : kind + "***";
}

Error bad_value(std::string_view source, std::string_view value, const SettingRow& row) {
  return Error(ErrorKind::invalid_argument, fmt::format("{} is \"{}\"; it may be {}", source,
                                                        shown_of(value, row), row.values()));
}

Error no_such_setting(SettingRows rows, std::string_view name) {
  // Anything else in place of a name may be a secret that belongs after it: it is not shown.
  constexpr std::string_view kLetters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
  if (name.size() > 64 || name.find_first_not_of(kLetters) != std::string_view::npos) {
    return Error(ErrorKind::invalid_argument,
                 "that is not the name of a setting, which has only lower-case letters, digits, _ "
                 "and .; write name=value");
  }
  std::vector<std::string_view> names;
  for (const SettingRow* const row : rows)
    names.emplace_back(row->name());
  const std::string close = nearest_or_behind("debug.", name, names);
  return Error(ErrorKind::invalid_argument,
               fmt::format("there is no setting \"{}\"{}", name,
                           close.empty() ? "; \"streamer settings\" lists all"
                                         : fmt::format("; did you mean {}?", close)));
}

const char* belongs_to(Scope scope) {
  switch (scope) {
    case Scope::store:
      return "the store: give it when the checkpoint is opened";
    case Scope::checkpoint:
      return "the checkpoint: give it when that is opened";
    case Scope::load:
      return "the load: give it when the load is started, or when its checkpoint is opened";
    case Scope::ranks:
      return "the ranks that share a load: give it when the load is started, or when its "
             "checkpoint "
             "is opened";
    case Scope::process:
      return "the process: give it to streamer_process_configure(), or set its variable";
    case Scope::call:
      break;
  }
  return "every call";
}

Error belongs_elsewhere(const SettingRow& row) {
  return Error(ErrorKind::invalid_argument,
               fmt::format("{} is a setting of {}", row.name(), belongs_to(row.scope())));
}

struct FromEnvironment {
  std::string variable;
  std::string value;
};

std::optional<FromEnvironment> from_environment(const SettingRow& row) {
  for (const char* variable : {row.variable(), row.also()}) {
    if (variable == nullptr) continue;
    const char* const value = ::secure_getenv(variable);
    if (value == nullptr || *value == '\0') continue;
    hide(row.secret_in(trim(value)));
    hide_value_of(variable, value);
    return FromEnvironment{variable, value};
  }
  return std::nullopt;
}

}  // namespace

Result<const SettingRow*> find_setting(SettingRows rows, std::string_view name) {
  for (const SettingRow* const row : rows) {
    if (row->name() == name) return row;
  }
  return no_such_setting(rows, name);
}

Result<void> Settings::set(const SettingRow& row, std::string_view value, std::string_view prefix) {
  const std::string_view trimmed = trim(value);
  hide(row.secret_in(trimmed));
  hide_value_of(row.name(), value);
  if (!row.read(trimmed).has_value())
    return bad_value(fmt::format("setting {}", row.name()), value, row);
  if (!prefix.empty() && row.scope() != Scope::store) {
    return Error(
        ErrorKind::invalid_argument,
        fmt::format("{} applies to all URIs, so it cannot have a prefix; it is a setting of {}",
                    row.name(), belongs_to(row.scope())));
  }
  Values& values = prefix.empty() ? values_ : for_prefix_[std::string(prefix)].values;
  values.insert_or_assign(&row, std::string(trimmed));
  return {};
}

void Settings::set_credentials_callback(CredentialsCallback callback, std::string_view prefix) {
  auto shared = std::make_shared<const CredentialsCallback>(std::move(callback));
  if (prefix.empty()) {
    credentials_callback_ = std::move(shared);
  } else {
    for_prefix_[std::string(prefix)].credentials_callback = std::move(shared);
  }
}

Result<Settings> Settings::for_load(const Settings& given) const {
  Settings both = *this;
  for (const auto& [row, value] : values_) {
    if (row->scope() == Scope::process) return belongs_elsewhere(*row);
  }
  for (const auto& [row, value] : given.values_) {
    const Scope scope = row->scope();
    if (scope == Scope::store || scope == Scope::checkpoint || scope == Scope::process)
      return belongs_elsewhere(*row);
    both.values_.insert_or_assign(row, value);
  }
  if (!given.for_prefix_.empty() || given.credentials_callback_) {
    return Error(ErrorKind::invalid_argument,
                 "settings for a prefix, and credentials, belong to the store: give them when the "
                 "checkpoint is opened");
  }
  return both;
}

Result<void> Settings::check_all_of(Scope scope) const {
  for (const auto& [row, value] : values_) {
    if (row->scope() != scope) return belongs_elsewhere(*row);
  }
  return {};
}

std::string Settings::prefix_for(std::string_view uri) const {
  std::string longest;
  for (const auto& [prefix, values] : for_prefix_) {
    if (uri.starts_with(prefix)) longest = prefix;
  }
  return longest;
}

Settings Settings::for_uri(std::string_view uri) const {
  Settings flat;
  flat.values_ = values_;
  flat.credentials_callback_ = credentials_callback_;
  for (const auto& [prefix, more] : for_prefix_) {
    if (!uri.starts_with(prefix)) continue;
    bool has_credentials = false;
    for (const auto& [row, value] : more.values) {
      flat.values_.insert_or_assign(row, value);
      has_credentials = has_credentials || row->is_credential();
    }
    if (more.credentials_callback) flat.credentials_callback_ = more.credentials_callback;
    // Keys for a prefix win over a callback with a shorter one.
    else if (has_credentials)
      flat.credentials_callback_.reset();
  }
  return flat;
}

bool Settings::is_in_code(const SettingRow& row) const {
  const auto found = values_.find(&row);
  return found != values_.end() && found->second != "auto";
}

std::string Settings::source_of(const SettingRow& row) const {
  if (!values_.contains(&row)) {
    if (const auto source = from_environment(row)) return source->variable;
  }
  return fmt::format("the setting {}", row.name());
}

Result<std::any> Settings::read_one(const SettingRow& row) const {
  // set() has checked given values, and the default is valid.
  if (const auto found = values_.find(&row); found != values_.end()) return row.read(found->second);
  const auto source = from_environment(row);
  if (!source) return row.read(row.default_text());
  std::any value = row.read(trim(source->value));
  if (!value.has_value()) return bad_value(source->variable, source->value, row);
  return value;
}

}  // namespace streamer::core::inline base
