// SPDX-License-Identifier: Apache-2.0
// What bash, zsh and fish complete: commands, options, values of which there are only some, names
// of settings after --set, and otherwise files.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/definition.hpp"
#include "streamer/streamer.hpp"

namespace streamer::cli {

namespace {

constexpr std::string_view kSet = "--set";

std::vector<std::string> settings_with_equals() {
  std::vector<std::string> names;
  for (const streamer_setting_info& row : all_settings())
    names.push_back(std::string(row.name) + "=");
  return names;
}

std::vector<OptionDefinition> options_of(const ProgramDefinition& program,
                                         const CommandDefinition& command) {
  std::vector<OptionDefinition> all = command.options;
  all.insert(all.end(), program.options.begin(), program.options.end());
  return all;
}

std::string names_of(const std::vector<OptionDefinition>& options) {
  std::string names;
  for (const OptionDefinition& option : options)
    names += fmt::format("{}{}", names.empty() ? "" : " ", fmt::join(option.names, " "));
  return names;
}

// For single quotes of a shell.
std::string quoted(std::string_view text) {
  std::string escaped;
  for (const char c : text)
    escaped += c == '\'' ? "'\\''" : std::string(1, c);
  return "'" + escaped + "'";
}

// The words that may follow an option, as "words"; empty: a file or whatever.
std::string bash_values(const ProgramDefinition& program) {
  std::string cases = fmt::format(
      "    {}) COMPREPLY=($(compgen -W '{}' -- \"$word\")); compopt -o nospace; return ;;\n", kSet,
      fmt::join(settings_with_equals(), " "));
  std::vector<OptionDefinition> seen = program.options;
  for (const CommandDefinition& command : program.commands)
    seen.insert(seen.end(), command.options.begin(), command.options.end());
  for (const OptionDefinition& option : seen) {
    if (!option.takes_value || option.names.back() == kSet) continue;
    const std::string line =
        option.choices.empty()
            ? fmt::format("    {}) return ;;\n", fmt::join(option.names, "|"))
            : fmt::format("    {}) COMPREPLY=($(compgen -W '{}' -- \"$word\")); return ;;\n",
                          fmt::join(option.names, "|"), fmt::join(option.choices, " "));
    // Options of several commands are the same in all.
    if (cases.find(line) == std::string::npos) cases += line;
  }
  return cases;
}

std::string for_bash(const ProgramDefinition& program) {
  std::string names;
  std::string options;
  std::string arguments;
  for (const CommandDefinition& command : program.commands) {
    names += (names.empty() ? "" : " ") + command.name;
    options += fmt::format("    {}) options='{}' ;;\n", command.name,
                           names_of(options_of(program, command)));
    for (const OptionDefinition& argument : command.arguments) {
      if (argument.choices.empty()) continue;
      arguments += fmt::format("    {}) COMPREPLY=($(compgen -W '{}' -- \"$word\")); return ;;\n",
                               command.name, fmt::join(argument.choices, " "));
    }
  }
  return fmt::format(
      "# Completion of {0} for bash; made by \"{0} completion bash\".\n"
      "_{0}() {{\n"
      "  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}\n"
      "  local command='' options='{1}' i\n"
      "  COMPREPLY=()\n"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "    case ${{COMP_WORDS[i]}} in\n"
      "    --log) ((i++)) ;;\n"
      "    -*) ;;\n"
      "    *) command=${{COMP_WORDS[i]}}; break ;;\n"
      "    esac\n"
      "  done\n"
      "  case $before in\n"
      "{2}"
      "  esac\n"
      "  case $command in\n"
      "{3}"
      "  esac\n"
      "  if [[ $word == -* ]]; then\n"
      "    COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
      "  elif [[ -z $command ]]; then\n"
      "    COMPREPLY=($(compgen -W '{4}' -- \"$word\"))\n"
      "  else\n"
      "    case $command in\n"
      "{5}"
      "    esac\n"
      "  fi\n"
      "}}\n"
      "complete -o default -F _{0} {0}\n",
      program.name, names_of(program.options), bash_values(program), options, names,
      arguments.empty() ? "    *) ;;\n" : arguments);
}

// Text of a description in a specification of zsh's _arguments.
std::string zsh_text(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

std::string zsh_values(const OptionDefinition& option) {
  if (option.names.back() == kSet)
    return fmt::format(":setting:compadd -S '' -- {}", fmt::join(settings_with_equals(), " "));
  if (!option.choices.empty()) return fmt::format(":value:({})", fmt::join(option.choices, " "));
  return option.takes_value ? ":value:_files" : "";
}

std::string for_zsh(const ProgramDefinition& program) {
  std::string descriptions;
  std::string cases;
  for (const CommandDefinition& command : program.commands) {
    descriptions +=
        fmt::format("    {}\n", quoted(command.name + ":" + zsh_text(command.description)));
    cases += fmt::format("  {}) _arguments", command.name);
    for (const OptionDefinition& option : options_of(program, command)) {
      for (const std::string& name : option.names) {
        cases +=
            " \\\n    " + quoted(fmt::format("{}{}[{}]{}", option.may_repeat ? "*" : "", name,
                                             zsh_text(option.description), zsh_values(option)));
      }
    }
    for (const OptionDefinition& argument : command.arguments) {
      const std::string values = argument.choices.empty()
                                     ? "_files"
                                     : fmt::format("({})", fmt::join(argument.choices, " "));
      cases += " \\\n    " + quoted(fmt::format("{}:{}:{}", argument.may_repeat ? "*" : "",
                                                argument.names.front(), values));
    }
    cases += " ;;\n";
  }
  return fmt::format(
      "#compdef {0}\n"
      "# Completion of {0} for zsh; made by \"{0} completion zsh\".\n"
      "_{0}() {{\n"
      "  local -a commands=(\n"
      "{1}"
      "  )\n"
      "  if ((CURRENT == 2)); then\n"
      "    _describe command commands\n"
      "    return\n"
      "  fi\n"
      "  shift words\n"
      "  ((CURRENT--))\n"
      "  case $words[1] in\n"
      "{2}"
      "  esac\n"
      "}}\n"
      "# Found by compinit it is called; read by eval it is only defined.\n"
      "if [[ $zsh_eval_context[-1] == loadautofunc ]]; then\n"
      "  _{0} \"$@\"\n"
      "else\n"
      "  compdef _{0} {0}\n"
      "fi\n",
      program.name, descriptions, cases);
}

std::string fish_option(const ProgramDefinition& program, std::string_view when,
                        const OptionDefinition& option) {
  std::string line = fmt::format("complete -c {}", program.name);
  if (!when.empty()) line += fmt::format(" -n '__fish_seen_subcommand_from {}'", when);
  for (const std::string& name : option.names) {
    const bool is_long = name.starts_with("--");
    line += fmt::format(" {} {}", is_long ? "-l" : "-s", name.substr(is_long ? 2 : 1));
  }
  if (option.takes_value) line += " -r";
  if (option.names.back() == kSet) {
    line += fmt::format(" -f -a '{}'", fmt::join(settings_with_equals(), " "));
  } else if (!option.choices.empty()) {
    line += fmt::format(" -f -a '{}'", fmt::join(option.choices, " "));
  }
  return line + " -d " + quoted(option.description) + "\n";
}

std::string for_fish(const ProgramDefinition& program) {
  std::string text =
      fmt::format("# Completion of {0} for fish; made by \"{0} completion fish\".\n", program.name);
  for (const OptionDefinition& option : program.options)
    text += fish_option(program, "", option);
  for (const CommandDefinition& command : program.commands) {
    text += fmt::format("complete -c {} -n __fish_use_subcommand -f -a {} -d {}\n", program.name,
                        command.name, quoted(command.description));
    for (const OptionDefinition& option : command.options)
      text += fish_option(program, command.name, option);
    for (const OptionDefinition& argument : command.arguments) {
      if (argument.choices.empty()) continue;
      text += fmt::format("complete -c {} -n '__fish_seen_subcommand_from {}' -f -a '{}'\n",
                          program.name, command.name, fmt::join(argument.choices, " "));
    }
  }
  return text;
}

}  // namespace

std::string completion(const ProgramDefinition& program, std::string_view shell) {
  if (shell == "zsh") return for_zsh(program);
  return shell == "fish" ? for_fish(program) : for_bash(program);
}

}  // namespace streamer::cli
