// SPDX-License-Identifier: Apache-2.0
// The streamer command: its arguments. Uses only the public headers, which shows that they are
// complete.
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include <CLI/CLI.hpp>

#include "base/nearest.hpp"
#include "cli/command.hpp"
#include "cli/definition.hpp"
#include "cli/interrupt.hpp"

namespace streamer::cli {

namespace {

constexpr std::array<std::pair<ExitCode, std::string_view>, 9> kExitCodes = {{
    {kExitOk, "done"},
    {kExitCorrupt, "the checkpoint is not valid"},
    {kExitUsage, "wrong arguments or settings"},
    {kExitStorage, "not found, refused, changed or unreadable"},
    {kExitMemory, "memory limit or out of memory"},
    {kExitDevice, "the GPU, or something needed to use it, failed or is missing"},
    {kExitInternal, "a bug"},
    {kExitInterrupted, "ended by Ctrl-C"},
    {kExitTerminated, "ended by SIGTERM"},
}};

// "Exit codes: 0 done; 1 ...", in lines that fit a terminal.
std::string footer() {
  std::string text = "Exit codes:";
  std::size_t column = text.size();
  for (const auto& [code, meaning] : kExitCodes) {
    for (const std::string& word :
         CLI::detail::split(fmt::format("{} {}{}", static_cast<int>(code), meaning,
                                        code == kExitTerminated ? "." : ";"),
                            ' ')) {
      const bool fits = column + 1 + word.size() <= 90;
      text += (fits ? " " : "\n") + word;
      column = fits ? column + 1 + word.size() : word.size();
    }
  }
  return text;
}

// In the order of LogLevel.
constexpr std::array<std::string_view, 5> kLogLevels = {"trace", "debug", "info", "warning",
                                                        "error"};

extern "C" void print_log_line(std::int32_t level, const char* line, void* user) {
  static_cast<void>(user);
  const bool is_warning = level == static_cast<std::int32_t>(LogLevel::warning);
  write_to(stderr, "{}{}\n", is_warning ? painted(stderr, Colour::yellow, "warning:") + " " : "",
           escaped(line));
}

// Warnings are shown to the command's user, unless the environment sends the log elsewhere.
void show_warnings() {
  for (const char* const name :
       {"STREAMER_LOG_FILE", "RUNAI_STREAMER_LOG_FILE", "RUNAI_STREAMER_LOG_TO_STDERR"}) {
    const char* const value = std::getenv(name);
    if (value != nullptr && *value != '\0') return;
  }
  set_log(LogLevel::warning, print_log_line);
}

// Filled by the arguments; the subcommand decides which fields are used.
struct Arguments {
  std::string uri;
  LoadArguments load;
  PullArguments pull;
  std::string device;  // doctor's
  bool is_deep = false;
  std::string action;  // cache's
  bool is_all = false;
  std::string log_level;
  int rounds = 5;
  bool explains = false;
  std::vector<std::string> setting_names;
  bool with_debug = false;
  std::string shell;
};

// What it means is prints_json(), which the arguments decide before they are parsed.
void add_json(CLI::App& command, const std::string& description = "print JSON") {
  command.add_flag("--json", description);
}

void add_settings(CLI::App& command, std::vector<std::string>& settings) {
  // The text itself is not shown: it may be a secret.
  const auto has_equals = [](const std::string& text) {
    const std::size_t equals = text.find('=');
    const bool is_pair = equals != std::string::npos && equals != 0;
    return is_pair ? std::string() : std::string("takes name=value");
  };
  command.add_option("--set", settings, "any setting, as name=value; may be repeated")
      ->allow_extra_args(false)
      ->check(CLI::Validator(has_equals, ""));
}

void add_checkpoint(CLI::App& command, LoadArguments& load) {
  command.add_option("URI", load.uris, "safetensors files, directories or shard indexes")
      ->required();
  CLI::Option* const rank =
      command
          .add_option("--rank", load.rank, "only that rank's parts of a sharded state in a folder")
          ->check(CLI::Range(0, 1'000'000));
  command.add_option("--pattern", load.pattern, "names of the parts, with {rank} and {part}")
      ->needs(rank);
  command.parse_complete_callback([&load] {
    if (load.rank >= 0 && load.uris.size() != 1)
      throw CLI::ValidationError("--rank", "is for one folder");
  });
}

void add_load_arguments(CLI::App& command, LoadArguments& load) {
  add_checkpoint(command, load);
  command.add_option("--memory-limit", load.memory_limit,
                     "auto, unlimited, minimum, or a size such as 8GiB");
  command.add_option("--concurrency", load.concurrency, "readers; auto, or 1 to 1024");
  command.add_option("--max-bandwidth", load.max_bandwidth, "bytes per second, such as 500MB");
  add_settings(command, load.settings);
  command.add_option("--match", load.globs, "only tensors whose name matches; may be repeated")
      ->allow_extra_args(false);
  command.add_option("--name", load.names, "only the tensor of that name; may be repeated")
      ->allow_extra_args(false);
  command.add_flag("--allow-empty", load.may_be_empty, "do not fail if a --match matches no name");
  command.add_option("--order", load.order, "completion or plan")
      ->check(CLI::IsMember({"completion", "plan"}));
}

void add_device(CLI::App& command, LoadArguments& load) {
  const auto is_device = [](const std::string& text) {
    const std::string of_rank = ":rank";  // of the load's ranks, each takes its own
    const auto device =
        device_named(text.ends_with(of_rank) ? text.substr(0, text.size() - of_rank.size()) : text);
    return device ? std::string() : std::string(device.error().message());
  };
  command.add_option("--device", load.device, "where tensors go: host, or cuda:0")
      ->check(CLI::Validator(is_device, ""));
}

void add_distributed(CLI::App& command, LoadArguments& load, const std::string& more = "") {
  command.add_flag("--distributed", load.is_distributed,
                   "share the load with the other processes of mpirun" + more);
}

ProgramDefinition definition_of(const CLI::App& app);

void add_commands(CLI::App& app, Arguments& arguments, int& exit_code) {
  CLI::App* const ls = app.add_subcommand("ls", "List what is directly under a URI");
  ls->add_option("URI", arguments.uri, "a directory, a prefix or a file")->required();
  ls->add_flag("-r,--recursive", arguments.is_deep, "everything below it, without folders");
  add_json(*ls, "one JSON object per line");
  add_settings(*ls, arguments.load.settings);
  ls->callback(
      [&] { exit_code = run_ls(arguments.uri, arguments.load.settings, arguments.is_deep); });

  CLI::App* const inspect =
      app.add_subcommand("inspect", "Check a checkpoint's headers and show what it holds");
  add_checkpoint(*inspect, arguments.load);
  add_json(*inspect);
  add_settings(*inspect, arguments.load.settings);
  inspect->callback([&] { exit_code = run_inspect(arguments.load); });

  const auto add_pull_arguments = [&](CLI::App& command) {
    command.add_option("URI", arguments.pull.uri, "a directory, a prefix or a file")->required();
    command.add_option("--allow", arguments.pull.allow, "only files that match; may be repeated")
        ->allow_extra_args(false);
    command.add_option("--ignore", arguments.pull.ignore, "skip files that match; may be repeated")
        ->allow_extra_args(false);
    add_settings(command, arguments.pull.settings);
  };
  CLI::App* const pull = app.add_subcommand("pull", "Copy selected files below a URI to a folder");
  add_pull_arguments(*pull);
  pull->add_option("FOLDER", arguments.pull.folder, "created if it does not exist")->required();
  pull->add_option("--max-bandwidth", arguments.pull.max_bandwidth,
                   "bytes per second, such as 500MB");
  add_json(*pull);
  pull->callback([&] { exit_code = run_pull(arguments.pull); });

  CLI::App* const snapshot = app.add_subcommand(
      "snapshot", "Print a folder with a model's small files, pulled once for each version");
  add_pull_arguments(*snapshot);
  snapshot->add_option("--cache", arguments.pull.folder, "where snapshots are kept");
  add_json(*snapshot);
  snapshot->callback([&] { exit_code = run_snapshot(arguments.pull); });

  CLI::App* const doctor =
      app.add_subcommand("doctor", "Try every step on the way to a URI's bytes, or to a GPU");
  doctor->add_option("URI", arguments.uri, "a directory, a prefix or a file");
  doctor->add_option("--device", arguments.device, "such as cuda:0")
      ->check(CLI::Validator(
          [](const std::string& text) {
            const auto device = device_named(text);
            if (!device) return std::string(device.error().message());
            return std::string(*device == host() ? "is a GPU, such as cuda:0" : "");
          },
          ""));
  add_json(*doctor, "one JSON object per line, for each step");
  add_settings(*doctor, arguments.load.settings);
  doctor->callback([&] {
    if (arguments.uri.empty() && arguments.device.empty())
      throw CLI::RequiredError("URI, or --device,");
    exit_code = run_doctor(arguments.uri, arguments.device, arguments.load.settings);
  });

  CLI::App* const load =
      app.add_subcommand("load", "Stream a checkpoint to memory and report how it went");
  add_load_arguments(*load, arguments.load);
  add_device(*load, arguments.load);
  add_distributed(*load, arguments.load, "; --device cuda:rank: each uses the GPU of its number");
  add_json(*load);
  load->add_flag("--explain", arguments.explains, "show what was chosen, and why");
  load->callback([&] { exit_code = run_load(arguments.load, arguments.explains); });

  CLI::App* const digest =
      app.add_subcommand("digest", "Print the SHA-256 of every tensor's bytes, sorted by name");
  add_load_arguments(*digest, arguments.load);
  add_distributed(*digest, arguments.load);
  add_json(*digest, "one JSON object per line");
  digest->callback([&] { exit_code = run_digest(arguments.load); });

  CLI::App* const bench =
      app.add_subcommand("bench", "Measure loads against plain reads of the same files");
  add_load_arguments(*bench, arguments.load);
  add_device(*bench, arguments.load);
  bench->add_option("--rounds", arguments.rounds, "counted rounds (default 5)")
      ->check(CLI::Range(1, 1000));
  add_json(*bench);
  bench->callback([&] { exit_code = run_bench(arguments.load, arguments.rounds); });

  CLI::App* const cache = app.add_subcommand(
      "cache", "List, verify or remove what the local cache of remote weights holds");
  cache->add_option("ACTION", arguments.action, "ls, verify or rm")
      ->required()
      ->check(CLI::IsMember({"ls", "verify", "rm"}));
  cache->add_option("URI", arguments.uri, "an object, or with a slash at its end all below it");
  cache->add_flag("--all", arguments.is_all, "rm: everything");
  add_json(*cache, "one JSON object per line");
  add_settings(*cache, arguments.load.settings);
  cache->callback([&] {
    exit_code =
        run_cache(arguments.action, arguments.uri, arguments.is_all, arguments.load.settings);
  });

  CLI::App* const settings =
      app.add_subcommand("settings", "Show every setting, its variables and what it means");
  settings->add_flag("--debug", arguments.with_debug,
                     "also those for debugging, which any version may change or drop");
  add_json(*settings, "one JSON object per line");
  settings->add_option("NAME", arguments.setting_names, "only these");
  settings->callback(
      [&] { exit_code = run_settings(arguments.setting_names, arguments.with_debug); });

  CLI::App* const completing =
      app.add_subcommand("completion", "Print what a shell needs to complete this command");
  completing->add_option("SHELL", arguments.shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  completing->callback([&] {
    write_text(stdout, completion(definition_of(app), arguments.shell));
    exit_code = finish_output();
  });

  CLI::App* const manual = app.add_subcommand("man", "Print the manual page, for man -l -");
  manual->callback([&] {
    write_text(stdout, manual_page(definition_of(app)));
    exit_code = finish_output();
  });

  for (CLI::App* const command : app.get_subcommands([](CLI::App*) { return true; })) {
    command->footer(footer());
    // Options of all commands are also accepted after the command's name.
    command->fallthrough();
  }
}

// ---- Mistyped arguments ----

std::string did_you_mean(std::string_view close) {
  return close.empty() ? std::string(".") : fmt::format("; did you mean {}?", close);
}

// What is wrong before the command's name, or with it; empty if nothing is.
std::string explain_start(const CLI::App& app, int argc, char** argv) {
  constexpr std::array<std::string_view, 3> kOptions = {"--log", "--help", "--version"};
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const std::string_view name = word.substr(0, word.find('='));
    if (word == "--log") {
      ++i;
    } else if (word.starts_with("--")) {
      if (std::find(kOptions.begin(), kOptions.end(), name) != kOptions.end()) continue;
      return fmt::format("{} cannot come before the command's name{}", name,
                         did_you_mean(core::nearest(name, kOptions)));
    } else if (!word.starts_with("-")) {
      std::vector<std::string> commands;
      for (const CLI::App* const command :
           app.get_subcommands([](const CLI::App*) { return true; }))
        commands.push_back(command->get_name());
      if (std::find(commands.begin(), commands.end(), word) != commands.end()) return {};
      return fmt::format("there is no command \"{}\"{} There are {}.", word,
                         did_you_mean(core::nearest(word, commands)), fmt::join(commands, ", "));
    }
  }
  return {};
}

// The text for an unknown option. What follows its '=' may be a secret.
std::string unknown_option(const CLI::App& command, const std::string& given) {
  const std::string name = given.substr(0, given.find('='));
  std::vector<std::string> names;
  for (const CLI::App* app : {&command, command.get_parent()}) {
    if (app == nullptr) continue;
    for (const CLI::Option* option : app->get_options()) {
      for (const std::string& known : option->get_lnames())
        names.push_back("--" + known);
    }
  }
  return fmt::format("{} has no option {}{}", command.get_name(), name,
                     did_you_mean(core::nearest(name, names)));
}

// What is wrong with the arguments, if this can say it better than CLI11; otherwise empty.
std::string explain(const CLI::App& app, const CLI::ParseError& error) {
  const auto chosen = app.get_subcommands();
  if (error.get_exit_code() == 0 || chosen.empty()) return {};
  const CLI::App& command = *chosen.front();
  const std::vector<std::string> extras = app.remaining(true);
  // The mistyped option may have swallowed the argument that CLI11 reports as missing.
  for (const std::string& extra : extras) {
    if (extra.starts_with("-")) return unknown_option(command, extra);
  }
  if (extras.empty() || error.get_exit_code() != static_cast<int>(CLI::ExitCodes::ExtrasError))
    return {};
  return fmt::format("{} takes no further arguments; see streamer {} --help", command.get_name(),
                     command.get_name());
}

// ---- The definition ----

OptionDefinition definition_of(const CLI::Option& option) {
  OptionDefinition made;
  for (const std::string& name : option.get_snames())
    made.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames())
    made.names.push_back("--" + name);
  if (option.get_positional()) made.names.push_back(option.get_name());
  made.takes_value = option.get_items_expected_max() > 0;
  made.is_required = option.get_required();
  // Each value may be given anew.
  made.may_repeat = option.get_items_expected_max() > 1;
  made.description = option.get_description();
  // CLI::IsMember describes itself as "TEXT:{a,b}".
  const std::string type = option.get_type_name();
  const std::size_t open = type.find('{');
  if (open != std::string::npos)
    made.choices = CLI::detail::split(type.substr(open + 1, type.find('}') - open - 1), ',');
  return made;
}

ProgramDefinition definition_of(const CLI::App& app) {
  ProgramDefinition program{app.get_name(), app.get_description(), {}, {}, {}};
  for (const CLI::Option* const option : app.get_options())
    program.options.push_back(definition_of(*option));
  for (const CLI::App* const command : app.get_subcommands([](const CLI::App*) { return true; })) {
    CommandDefinition made{command->get_name(), command->get_description(), {}, {}};
    for (const CLI::Option* const option : command->get_options()) {
      if (option->get_positional()) {
        made.arguments.push_back(definition_of(*option));
      } else if (option != command->get_help_ptr()) {
        made.options.push_back(definition_of(*option));
      }
    }
    program.commands.push_back(std::move(made));
  }
  for (const auto& [code, meaning] : kExitCodes)
    program.exit_codes.emplace_back(code, meaning);
  return program;
}

int run(int argc, char** argv) {
  // "help" and "help load", as many programs understand them.
  if (argc > 1 && std::string_view(argv[1]) == "help") {
    std::string help = "--help";
    std::vector<char*> words = {argv[0], help.data()};
    if (argc > 2) words.insert(words.begin() + 1, argv[2]);
    return run(static_cast<int>(words.size()), words.data());
  }
  // Before anything can fail.
  if (std::find(argv + 1, argv + argc, std::string_view("--json")) != argv + argc)
    print_json_from_now_on();
  int exit_code = 0;
  Arguments arguments;
  CLI::App app("Streams model weights from storage to memory.", "streamer");
  app.set_version_flag("-V,--version",
                       fmt::format("streamer {}\n{}", version_string(), build_info()));
  app.require_subcommand(1);
  app.add_option("--log", arguments.log_level,
                 "log to stderr: trace, debug, info, warning (default), error")
      ->check(CLI::IsMember(std::vector<std::string>(kLogLevels.begin(), kLogLevels.end())))
      ->each([](const std::string& level) {
        const auto at = std::find(kLogLevels.begin(), kLogLevels.end(), level);
        set_log(static_cast<LogLevel>(at - kLogLevels.begin()), print_log_line);
      });
  app.footer(footer());
  add_commands(app, arguments, exit_code);
  if (const std::string why = explain_start(app, argc, argv); !why.empty())
    return report_misuse(why);
  show_warnings();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // CLI11 has a different code for each misuse of the arguments: here there is only one. --help
    // is not a misuse.
    if (const std::string why = explain(app, error); !why.empty()) return report_misuse(why);
    if (error.get_exit_code() != 0)
      return report_misuse(fmt::format("{}; see streamer --help", error.what()));
    app.exit(error);
    return finish_output();
  }
  return exit_code;
}

}  // namespace

}  // namespace streamer::cli

int main(int argc, char** argv) {
  // If one of the three was closed, the next file would get its number: they are opened the wrong
  // way round, so that using them fails.
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    if (::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd) break;
  }
  // If the reader of the output goes away, that is a failed write, not the end of the process.
  ::signal(SIGPIPE, SIG_IGN);
  // And so is a file that grows beyond the limit of ulimit -f.
  ::signal(SIGXFSZ, SIG_IGN);
  auto caught = streamer::cli::catch_interrupts();
  if (!caught) return streamer::cli::report(caught.error());
  return streamer::cli::run(argc, argv);
}
