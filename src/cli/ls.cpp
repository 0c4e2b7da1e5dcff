// SPDX-License-Identifier: Apache-2.0
// streamer ls: what is directly under a URI.
#include <fmt/format.h>

#include "cli/command.hpp"
#include "cli/interrupt.hpp"

namespace streamer::cli {

int run_ls(const std::string& uri, const std::vector<std::string>& settings_given, bool is_deep,
           bool as_json) {
  auto settings = make_settings(settings_given);
  if (!settings) return report(settings.error());
  auto entries =
      is_deep ? list_all(uri, *settings, interrupts()) : list(uri, *settings, interrupts());
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

}  // namespace streamer::cli
