// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the command takes, as data: its parser fills it, and from it the manual page and what shells
// complete are made.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace streamer::cli {

struct OptionDefinition {
  std::vector<std::string> names;  // "-r", "--recursive"; of a positional argument "URI"
  bool takes_value = false;
  bool is_required = false;
  bool may_repeat = false;
  std::vector<std::string> choices;  // the values that it takes; empty: any
  std::string description;
};

struct CommandDefinition {
  std::string name;
  std::string description;
  std::vector<OptionDefinition> arguments;  // positional, in order
  std::vector<OptionDefinition> options;
};

struct ProgramDefinition {
  std::string name;
  std::string description;
  std::vector<OptionDefinition> options;  // of every command
  std::vector<CommandDefinition> commands;
  std::vector<std::pair<int, std::string_view>> exit_codes;
};

// In the format of man(7).
[[nodiscard]] std::string manual_page(const ProgramDefinition& program);

// For shells: "bash", "zsh" or "fish".
[[nodiscard]] std::string completion(const ProgramDefinition& program, std::string_view shell);

}  // namespace streamer::cli
