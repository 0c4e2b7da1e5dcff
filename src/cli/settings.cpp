// SPDX-License-Identifier: Apache-2.0
// streamer settings: every setting there is, as the library knows it.
#include <fmt/format.h>

#include <algorithm>

#include "base/nearest.hpp"
#include "cli/command.hpp"

namespace streamer::cli {

namespace {

std::string variables_of(const streamer_setting_info& row) {
  if (row.compatible_variable == nullptr) return row.variable;
  return fmt::format("{}, {}", row.variable, row.compatible_variable);
}

void print_json(const streamer_setting_info& row) {
  write_to(stdout,
           "{{\"name\":{},\"variable\":{},\"compatible_variable\":{},\"scope\":{},\"values\":{},"
           "\"default_value\":{},\"meaning\":{},\"is_secret\":{}}}\n",
           json_string(row.name), json_string(row.variable),
           row.compatible_variable == nullptr ? "null" : json_string(row.compatible_variable),
           json_string(row.scope), json_string(row.values), json_string(row.default_value),
           json_string(row.meaning), row.is_secret != 0);
}

std::string unknown(const std::string& name) {
  std::vector<std::string> known;
  for (const streamer_setting_info& row : all_settings())
    known.emplace_back(row.name);
  const std::string_view close = core::nearest(name, known);
  return fmt::format("there is no setting {}{}", name,
                     close.empty() ? "" : fmt::format("; did you mean {}?", close));
}

}  // namespace

int run_settings(const std::vector<std::string>& names, bool with_debug) {
  const std::vector<streamer_setting_info> all = all_settings();
  for (const std::string& name : names) {
    if (std::none_of(all.begin(), all.end(), [&](const auto& row) { return name == row.name; }))
      return report_misuse(unknown(name));
  }
  for (const streamer_setting_info& row : all) {
    const bool is_named = std::find(names.begin(), names.end(), row.name) != names.end();
    const bool is_for_debugging = std::string_view(row.name).starts_with("debug.");
    if (names.empty() ? is_for_debugging && !with_debug : !is_named) continue;
    if (prints_json()) {
      print_json(row);
      continue;
    }
    write_to(stdout, "{}={}  ({}; scope: {})\n    {}\n    {}\n", row.name, row.default_value,
             row.values, row.scope, variables_of(row), row.meaning);
  }
  return finish_output();
}

}  // namespace streamer::cli
