// SPDX-License-Identifier: Apache-2.0
// streamer doctor: everything on the way to a URI's bytes, or to a device, step by step.
#include <fmt/format.h>
#include <unistd.h>

#include "cli/command.hpp"
#include "cli/interrupt.hpp"

namespace streamer::cli {

namespace {

extern "C" void print_step(const streamer_step_info* step, void* user) {
  const bool is_ok = step->status == STREAMER_OK;
  if (!is_ok) *static_cast<bool*>(user) = true;
  if (prints_json()) {
    write_to(stdout, "{{\"step\":{},\"status\":\"{}\",\"seconds\":{:.6f},\"detail\":{}}}\n",
             json_string(step->name), streamer_status_name(step->status),
             static_cast<double>(step->elapsed_ns) * 1e-9, json_string(step->detail));
  } else {
    const std::string outcome = fmt::format("{:<6}", is_ok ? "ok" : "FAILED");
    write_to(stdout, "{} {:<12} {:>8.1f} ms  {}\n",
             painted(stdout, is_ok ? Colour::green : Colour::red, outcome), step->name,
             static_cast<double>(step->elapsed_ns) / 1e6, escaped(step->detail));
  }
  flush_output();
}

// On a terminal the step that failed has just said the same.
int report_unless_shown(const Error& error, bool has_failed_step) {
  const bool is_shown = has_failed_step && !prints_json() && ::isatty(STDOUT_FILENO) != 0 &&
                        ::isatty(STDERR_FILENO) != 0;
  return is_shown ? exit_code_of(error.kind()) : report(error);
}

}  // namespace

int run_doctor(const std::string& uri, const std::string& device,
               const std::vector<std::string>& settings_given) {
  bool has_failed_step = false;
  if (!device.empty()) {
    auto diagnosed =
        diagnose_device(device_named(device).value(), print_step, &has_failed_step, interrupts());
    if (!diagnosed) return report_unless_shown(diagnosed.error(), has_failed_step);
  }
  if (uri.empty()) return finish_output();
  auto settings = make_settings(settings_given);
  if (!settings) return report(settings.error());
  auto diagnosed = diagnose(uri, print_step, &has_failed_step, *settings, interrupts());
  if (!diagnosed) return report_unless_shown(diagnosed.error(), has_failed_step);
  return finish_output();
}

}  // namespace streamer::cli
