// SPDX-License-Identifier: Apache-2.0
// The streamer command. Uses only the public headers, which shows that they are complete.
#include <fmt/format.h>
#include <signal.h>

#include "cli/command.hpp"

namespace {

constexpr const char* kFooter =
    "Exit codes: 0 done; 1 the checkpoint is not valid; 2 wrong arguments or settings; 3 not "
    "found,\n"
    "refused, changed or unreadable; 4 memory limit or out of memory; 70 a bug; 130 interrupted.";

// CLI11 has codes of its own for each way to misuse the arguments: ours is one.
int usage(const CLI::App& app, const CLI::ParseError& error) {
  const int code = app.exit(error);
  return code == 0 ? streamer::cli::kExitOk : streamer::cli::kExitUsage;
}

}  // namespace

int main(int argc, char** argv) {
  // A reader of our output that goes away is a failed write, not the end of the process.
  ::signal(SIGPIPE, SIG_IGN);
  int exit_code = 0;
  CLI::App app("Streams model weights from storage to memory.", "streamer");
  app.set_version_flag("--version", fmt::format("streamer {}", streamer::version_string()));
  app.require_subcommand(1);
  app.footer(kFooter);
  streamer::cli::add_ls(app, exit_code);
  streamer::cli::add_inspect(app, exit_code);
  streamer::cli::add_load(app, exit_code);
  streamer::cli::add_digest(app, exit_code);
  streamer::cli::add_bench(app, exit_code);
  for (CLI::App* const command : app.get_subcommands({}))
    command->footer(kFooter);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return usage(app, error);
  }
  return exit_code;
}
