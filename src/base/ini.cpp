// SPDX-License-Identifier: Apache-2.0
#include "base/ini.hpp"

#include <fmt/format.h>

#include "base/text.hpp"

namespace streamer::core::inline base {

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

// Reads as the AWS CLI does, which uses Python's configparser: a line that is indented deeper than
// the key before it continues that key's value; every other line is a key or a section.
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
        // The line may be a secret without its name: it is not shown.
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
    const auto indent = static_cast<std::size_t>(content.data() - line.data());
    if (value_ != nullptr && indent > indent_) {
      add_below(content);
      return true;
    }
    indent_ = indent;
    if (content[0] == '[') return begin_section(content);
    if (section_ == nullptr) return false;
    const std::size_t mark = content.find_first_of("=:");
    const std::string name = to_lower(trim(content.substr(0, mark)));
    if (mark == std::string_view::npos || name.empty()) return false;
    value_ = &(*section_)[name];
    *value_ = {std::string(trim(without_comment(content.substr(mark + 1)))), {}};
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

  // A line below an empty value is a name and a value of its own; below another it goes on with it.
  void add_below(std::string_view content) {
    const bool has_equals = content.find('=') != std::string_view::npos;
    const std::size_t mark = content.find(has_equals ? '=' : ':');
    if (!value_->text.empty() || mark == std::string_view::npos) {
      value_->text += "\n";
      value_->text += content;
      return;
    }
    const std::string_view text = trim(without_comment(content.substr(mark + 1)));
    value_->nested[to_lower(trim(content.substr(0, mark)))] = text;
  }

  IniFile file_;
  IniSection* section_ = nullptr;
  IniValue* value_ = nullptr;
  std::size_t indent_ = 0;  // of the key or section that was read last
};

}  // namespace

Result<IniFile> read_ini(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  return IniReader().read(text);
}

}  // namespace streamer::core::inline base
