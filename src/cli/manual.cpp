// SPDX-License-Identifier: Apache-2.0
// The manual page. Text for roff: a backslash is \e, a hyphen that is to be copied \-, and no line
// of text begins with a full stop or an apostrophe.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/definition.hpp"
#include "streamer/streamer.hpp"

namespace streamer::cli {

namespace {

std::string roff(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if ((c == '.' || c == '\'') && (escaped.empty() || escaped.back() == '\n')) escaped += "\\&";
    escaped += c == '\\' ? "\\e" : c == '-' ? "\\-" : std::string(1, c);
  }
  return escaped;
}

std::string bold(std::string_view text) {
  return fmt::format("\\fB{}\\fR", roff(text));
}

std::string italic(std::string_view text) {
  return fmt::format("\\fI{}\\fR", roff(text));
}

std::string tagged(const std::string& tag, std::string_view text) {
  return fmt::format(".TP\n{}\n{}\n", tag, roff(text));
}

std::string section(std::string_view title) {
  return fmt::format(".SH {}\n", title);
}

std::string options_text(const std::vector<OptionDefinition>& options) {
  std::string text;
  for (const OptionDefinition& option : options) {
    std::string tag;
    for (const std::string& name : option.names)
      tag += (tag.empty() ? "" : ", ") + bold(name);
    if (!option.choices.empty()) {
      tag += fmt::format(" {}", italic(fmt::format("{}", fmt::join(option.choices, "|"))));
    } else if (option.takes_value) {
      tag += fmt::format(" {}", italic("VALUE"));
    }
    text += tagged(tag, option.description);
  }
  return text;
}

std::string command_text(const ProgramDefinition& program, const CommandDefinition& command) {
  std::string usage = bold(program.name + " " + command.name);
  if (!command.options.empty()) usage += " [" + italic("options") + "]";
  for (const OptionDefinition& argument : command.arguments)
    usage +=
        fmt::format(" {}{}", italic(argument.names.front()), argument.may_repeat ? " ..." : "");
  std::string text =
      fmt::format(".SS {}\n{}\n.PP\n{}.\n", command.name, usage, roff(command.description));
  for (const OptionDefinition& argument : command.arguments)
    text += tagged(italic(argument.names.front()), argument.description);
  return text + options_text(command.options);
}

std::string settings_text() {
  std::string text =
      "Each is set by " + bold("--set") + " " + italic("name=value") +
      ", by a program or, where that does not, by its environment variable. Secrets are better "
      "in the environment than in the arguments of a process.\n";
  for (const streamer_setting_info& row : all_settings()) {
    if (std::string_view(row.name).starts_with("debug.")) continue;
    text += fmt::format(".TP\n{}={} ({})\n{}\n.br\nValues: {}.\n", bold(row.name),
                        roff(row.default_value), italic(row.variable), roff(row.meaning),
                        roff(row.values));
  }
  return text;
}

}  // namespace

std::string manual_page(const ProgramDefinition& program) {
  std::string page =
      fmt::format(".TH STREAMER 1 \"\" \"libstreamer {}\" \"User Commands\"\n", version_string());
  page += section("NAME") + roff(program.name) + " \\- " +
          roff("model weights from storage to memory") + "\n";
  page += section("SYNOPSIS") + bold(program.name) + " " + italic("COMMAND") + " [" +
          italic("options") + "] " + italic("URI") + " ...\n";
  page += section("DESCRIPTION");
  page += roff(program.description) + "\n.PP\n" +
          roff(
              "A URI is a safetensors file, a directory or prefix, or a shard index, written as "
              "/path, path, file:///path, s3://bucket/key, gs://bucket/object, "
              "az://container/blob, hf://organisation/model or https://host/path. In it, * and "
              "[...] match within one name and ** any number of folders, as in a shell, except in "
              "https:// URIs; ? does so in local paths only. Quote such a URI.") +
          "\n";
  page += section("COMMANDS");
  for (const CommandDefinition& command : program.commands)
    page += command_text(program, command);
  page += section("OPTIONS OF ALL COMMANDS") + options_text(program.options);
  page += section("SETTINGS") + settings_text();
  page += section("ENVIRONMENT");
  page += tagged(
      bold("STREAMER_LOG_FILE"),
      "Where the log goes: a path, or stderr. The command then shows no warnings of its own.");
  page += tagged(bold("STREAMER_LOG_LEVEL"), "trace, debug, info, warning (default), error.");
  page += tagged(bold("NO_COLOR"), "If set, nothing is coloured, on terminals neither.");
  page += section("EXIT STATUS");
  for (const auto& [code, meaning] : program.exit_codes)
    page += tagged(bold(std::to_string(code)), std::string(meaning) + ".");
  return page;
}

}  // namespace streamer::cli
