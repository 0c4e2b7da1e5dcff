// SPDX-License-Identifier: Apache-2.0
// streamer pull, streamer snapshot: chosen files to a folder.
#include <fmt/format.h>

#include "cli/command.hpp"
#include "cli/interrupt.hpp"

namespace streamer::cli {

int run_pull(const PullArguments& arguments) {
  auto settings = make_settings(arguments.settings);
  if (!settings) return report(settings.error());
  auto pulled =
      pull(arguments.uri, arguments.folder, {.allow = arguments.allow, .ignore = arguments.ignore},
           *settings, interrupts());
  if (!pulled) return report(pulled.error());
  std::uint64_t bytes = 0;
  for (const Entry& entry : *pulled) {
    write_to(stdout, "{:>12}  {}\n", entry.bytes, escaped(entry.uri));
    bytes += entry.bytes;
  }
  write_to(stdout, "pulled {} files, {}\n", pulled->size(), human_bytes(bytes));
  return finish_output();
}

int run_snapshot(const PullArguments& arguments) {
  auto settings = make_settings(arguments.settings);
  if (!settings) return report(settings.error());
  if (!arguments.folder.empty()) {
    auto set = settings->set("cache_folder", arguments.folder);
    if (!set) return report(set.error());
  }
  auto folder = snapshot(arguments.uri, {.allow = arguments.allow, .ignore = arguments.ignore},
                         *settings, interrupts());
  if (!folder) return report(folder.error());
  // For scripts: the path as it is.
  write_to(stdout, "{}\n", *folder);
  return finish_output();
}

}  // namespace streamer::cli
