// SPDX-License-Identifier: Apache-2.0
#include "base/ini.hpp"

#include <fmt/format.h>

#include "base/text.hpp"

namespace streamer::core {

namespace {

std::string_view without_comment(std::string_view value) {
  for (std::size_t i = 0; i + 1 < value.size(); ++i) {
    const bool is_space = value[i] == ' ' || value[i] == '\t';
    if (is_space && (value[i + 1] == '#' || value[i + 1] == ';')) return value.substr(0, i);
  }
  return value;
}

std::string section_name(std::string_view text) {
  std::string name;
  for (const char c : text) {
    if (c == '"' || c == '\'') continue;
    const bool is_space = c == ' ' || c == '\t';
    if (is_space && (name.empty() || name.back() == ' ')) continue;
    name += is_space ? ' ' : c;
  }
  return std::string(trim(name));
}

class IniReader {
 public:
  Result<IniFile> read(std::string_view text) {
    std::size_t number = 0;
    while (!text.empty()) {
      ++number;
      const std::size_t end = std::min(text.find('\n'), text.size());
      const std::string_view line = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      if (!take(line)) {
        // What stands in the line may be a secret that lost its name: it is not shown.
        return Error(ErrorKind::invalid_argument,
                     fmt::format("line {} is neither [section] nor name = value", number));
      }
    }
    return std::move(file_);
  }

 private:
  bool take(std::string_view line) {
    const std::string_view content = trim(line);
    if (content.empty() || content[0] == '#' || content[0] == ';') return true;
    if (content[0] == '[') return begin_section(content);
    if (section_ == nullptr) return false;
    const bool is_indented = line[0] == ' ' || line[0] == '\t';
    const std::size_t equals = content.find('=');
    if (is_indented && value_ != nullptr) return add_nested(content, equals);
    if (equals == std::string_view::npos || trim(content.substr(0, equals)).empty()) return false;
    value_ = &(*section_)[to_lower(trim(content.substr(0, equals)))];
    *value_ = {std::string(trim(without_comment(content.substr(equals + 1)))), {}};
    return true;
  }

  bool begin_section(std::string_view content) {
    const std::size_t close = content.find(']');
    if (close == std::string_view::npos) return false;
    const std::string_view behind = trim(content.substr(close + 1));
    if (!behind.empty() && behind[0] != '#' && behind[0] != ';') return false;
    const std::string name = section_name(content.substr(1, close - 1));
    if (name.empty()) return false;
    section_ = &file_[name];
    value_ = nullptr;
    return true;
  }

  // An indented line below a value that is not empty goes on with that value.
  bool add_nested(std::string_view content, std::size_t equals) {
    if (!value_->text.empty() || equals == std::string_view::npos) {
      value_->text += "\n";
      value_->text += content;
      return true;
    }
    const std::string_view text = trim(without_comment(content.substr(equals + 1)));
    value_->nested[to_lower(trim(content.substr(0, equals)))] = text;
    return true;
  }

  IniFile file_;
  IniSection* section_ = nullptr;
  IniValue* value_ = nullptr;
};

}  // namespace

Result<IniFile> read_ini(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  return IniReader().read(text);
}

}  // namespace streamer::core
