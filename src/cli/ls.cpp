// SPDX-License-Identifier: Apache-2.0
// streamer ls: what stands directly under a URI.
#include <fmt/format.h>

#include "cli/command.hpp"

namespace streamer::cli {

namespace {

int run_ls(const std::string& uri, bool as_json) {
  auto entries = list(uri);
  if (!entries) return report(entries.error());
  for (const Entry& entry : *entries) {
    if (as_json) {
      write_to(stdout, "{{\"uri\":{},\"bytes\":{},\"is_folder\":{}}}\n", json_string(entry.uri),
               entry.bytes, entry.is_folder);
    } else if (entry.is_folder) {
      write_to(stdout, "{:>12}  {}\n", "-", escaped(entry.uri));
    } else {
      write_to(stdout, "{:>12}  {}\n", entry.bytes, escaped(entry.uri));
    }
  }
  return finish_output();
}

}  // namespace

void add_ls(CLI::App& app, int& exit_code) {
  struct Arguments {
    std::string uri;
    bool as_json = false;
  };
  const auto arguments = std::make_shared<Arguments>();
  CLI::App* const command = app.add_subcommand("ls", "List what stands directly under a URI");
  command->add_option("URI", arguments->uri, "a directory or a file")->required();
  command->add_flag("--json", arguments->as_json, "one JSON object per line");
  command->callback(
      [arguments, &exit_code] { exit_code = run_ls(arguments->uri, arguments->as_json); });
}

}  // namespace streamer::cli
