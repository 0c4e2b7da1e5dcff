// SPDX-License-Identifier: Apache-2.0
// streamer doctor: everything on the way to a URI's bytes, step by step.
#include <fmt/format.h>

#include "cli/command.hpp"
#include "cli/interrupt.hpp"

namespace streamer::cli {

namespace {

extern "C" void print_step(const streamer_step_info* step, void* user) {
  static_cast<void>(user);
  write_to(stdout, "{:<6} {:<12} {:>8.1f} ms  {}\n", step->status == STREAMER_OK ? "ok" : "FAILED",
           step->name, static_cast<double>(step->elapsed_ns) / 1e6, escaped(step->detail));
  std::fflush(stdout);
}

}  // namespace

int run_doctor(const std::string& uri, const std::vector<std::string>& settings_given) {
  auto settings = make_settings(settings_given);
  if (!settings) return report(settings.error());
  auto diagnosed = diagnose(uri, print_step, nullptr, *settings, interrupts());
  if (!diagnosed) return report(diagnosed.error());
  return finish_output();
}

}  // namespace streamer::cli
