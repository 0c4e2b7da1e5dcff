// SPDX-License-Identifier: Apache-2.0
// streamer settings: every setting there is, as the library knows it.
#include <fmt/format.h>

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

}  // namespace

int run_settings(bool with_debug) {
  for (const streamer_setting_info& row : all_settings()) {
    if (!with_debug && std::string_view(row.name).starts_with("debug.")) continue;
    if (prints_json()) {
      print_json(row);
      continue;
    }
    write_to(stdout, "{}={}  ({}; of the {})\n    {}\n    {}\n", row.name, row.default_value,
             row.values, row.scope, variables_of(row), row.meaning);
  }
  return finish_output();
}

}  // namespace streamer::cli
