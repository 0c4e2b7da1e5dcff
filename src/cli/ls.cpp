// SPDX-License-Identifier: Apache-2.0
// streamer ls: what is directly under a URI, or what a pattern matches.
#include "cli/command.hpp"
#include "cli/globs.hpp"
#include "cli/interrupt.hpp"

namespace streamer::cli {

namespace {

void print(const Entry& entry) {
  if (prints_json()) {
    write_to(stdout, "{{\"uri\":{},\"bytes\":{},\"is_folder\":{}}}\n", json_string(entry.uri),
             entry.bytes, entry.is_folder);
  } else {
    const std::string bytes = entry.is_folder ? "-" : std::to_string(entry.bytes);
    write_to(stdout, "{:>12}  {}\n", bytes, escaped(entry.uri));
  }
}

// Everything below what a pattern matched.
Result<std::vector<Entry>> below(const std::vector<Entry>& matches, const Settings& settings) {
  std::vector<Entry> all;
  for (const Entry& match : matches) {
    auto found = list_all(match.uri, settings, interrupts());
    if (!found) return found;
    all.insert(all.end(), found->begin(), found->end());
  }
  return all;
}

Result<std::vector<Entry>> find(const std::string& uri, bool is_deep, const Settings& settings) {
  auto matches = match_glob(uri, settings);
  if (!matches) return std::move(matches).error();
  if (*matches) return is_deep ? below(**matches, settings) : **std::move(matches);
  return is_deep ? list_all(uri, settings, interrupts()) : list(uri, settings, interrupts());
}

}  // namespace

int run_ls(const std::string& uri, const std::vector<std::string>& settings_given, bool is_deep) {
  auto settings = make_settings(settings_given);
  if (!settings) return report(settings.error());
  auto entries = find(uri, is_deep, *settings);
  if (!entries) return report(entries.error());
  for (const Entry& entry : *entries)
    print(entry);
  return finish_output();
}

}  // namespace streamer::cli
