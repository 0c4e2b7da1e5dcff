// SPDX-License-Identifier: Apache-2.0
#pragma once
// One row per setting. The room that uses a setting owns its row, in a separate header
// (engine/load_settings.hpp): an object in the namespace `setting`, through which it is read. This
// room has only the mechanism.

#include <any>
#include <array>
#include <cstddef>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "base/setting_types.hpp"

namespace streamer::core::inline base {

// What a setting applies to, and so where it may be given.
enum class Scope {
  store,       // opening or listing something, and everything read with it
  checkpoint,  // opening a checkpoint
  load,        // starting a load, or opening its checkpoint, whose loads inherit it
  ranks,       // making a communicator, starting its load, or opening the checkpoint
  call,        // any call
  process,     // all loads of the process
};

// What is not of a setting's type.
template <Scope kScope>
struct RowOf {
  const char* name;
  const char* also = nullptr;  // another program's variable, read if the setting's own is not set
  const char* default_text = "auto";
  const char* meaning;
  // It sets credentials: for a prefix, it wins over a callback with a shorter prefix.
  bool is_credential = false;
};

class SettingRow {
 public:
  static constexpr std::size_t kMostVariableBytes = 64;

  template <Scope kScope>
  constexpr explicit SettingRow(const RowOf<kScope>& row)
      : name_(row.name),
        also_(row.also),
        default_text_(row.default_text),
        meaning_(row.meaning),
        scope_(kScope),
        is_credential_(row.is_credential) {
    std::size_t length = 0;
    for (const char c : std::string_view("STREAMER_"))
      variable_[length++] = c;
    for (const char c : std::string_view(row.name))
      variable_[length++] = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A')
                            : c == '.'           ? '_'
                                                 : c;
  }
  SettingRow(const SettingRow&) = delete;
  SettingRow& operator=(const SettingRow&) = delete;

  [[nodiscard]] constexpr const char* name() const noexcept { return name_; }
  // STREAMER_ and the name in capitals; '.' is '_'.
  [[nodiscard]] constexpr const char* variable() const noexcept { return variable_.data(); }
  [[nodiscard]] constexpr const char* also() const noexcept { return also_; }  // nullptr: none
  [[nodiscard]] constexpr const char* default_text() const noexcept { return default_text_; }
  [[nodiscard]] constexpr const char* meaning() const noexcept { return meaning_; }
  [[nodiscard]] constexpr Scope scope() const noexcept { return scope_; }
  [[nodiscard]] constexpr bool is_credential() const noexcept { return is_credential_; }
  // Its value is not shown.
  [[nodiscard]] virtual bool is_secret() const noexcept = 0;
  // The part of a value, of a refused one too, that is never shown.
  [[nodiscard]] virtual std::string_view secret_in(std::string_view text) const = 0;
  // The accepted values, for messages and docs.
  [[nodiscard]] virtual std::string values() const = 0;
  // The typed value; empty if the text is refused.
  [[nodiscard]] virtual std::any read(std::string_view text) const = 0;

 protected:
  ~SettingRow() = default;  // rows are static

 private:
  const char* name_;
  const char* also_;
  const char* default_text_;
  const char* meaning_;
  Scope scope_;
  bool is_credential_;
  std::array<char, kMostVariableBytes> variable_{};
};

// Type: one of base/setting_types.hpp, or of the room that owns the row.
template <Scope kScope, typename Type>
class Setting final : public SettingRow {
 public:
  using Value = typename Type::Value;

  constexpr Setting(const RowOf<kScope>& row, Type type) : SettingRow(row), type_(type) {}

  [[nodiscard]] bool is_secret() const noexcept override { return Type::kIsSecret; }
  [[nodiscard]] std::string_view secret_in(std::string_view text) const override {
    return type_.secret_in(text);
  }
  [[nodiscard]] std::string values() const override { return type_.values(); }
  [[nodiscard]] std::any read(std::string_view text) const override {
    if (std::optional<Value> value = type_.read(text)) return std::any(*std::move(value));
    return {};
  }
  [[nodiscard]] Value default_value() const { return *type_.read(default_text()); }

 private:
  Type type_;
};

// The rows of one room or of several.
using SettingRows = std::span<const SettingRow* const>;

[[nodiscard]] inline std::vector<const SettingRow*> joined(
    std::initializer_list<SettingRows> rooms) {
  std::vector<const SettingRow*> all;
  for (const SettingRows room : rooms)
    all.insert(all.end(), room.begin(), room.end());
  return all;
}

}  // namespace streamer::core::inline base
