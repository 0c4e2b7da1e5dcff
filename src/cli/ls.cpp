// SPDX-License-Identifier: Apache-2.0
// streamer ls: what stands directly under a URI.
#include <fmt/format.h>

#include "cli/command.hpp"

namespace streamer::cli {

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

}  // namespace streamer::cli
