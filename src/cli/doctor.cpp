// SPDX-License-Identifier: Apache-2.0
// streamer doctor: everything on the way to a URI's bytes, or to a device, step by step.
#include <fmt/format.h>

#include "cli/command.hpp"
#include "cli/interrupt.hpp"

namespace streamer::cli {

namespace {

extern "C" void print_step(const streamer_step_info* step, void* user) {
  static_cast<void>(user);
  const bool is_ok = step->status == STREAMER_OK;
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
  std::fflush(stdout);
}

}  // namespace

int run_doctor(const std::string& uri, const std::string& device,
               const std::vector<std::string>& settings_given) {
  if (!device.empty()) {
    auto diagnosed =
        diagnose_device(device_named(device).value(), print_step, nullptr, interrupts());
    if (!diagnosed) return report(diagnosed.error());
  }
  if (uri.empty()) return finish_output();
  auto settings = make_settings(settings_given);
  if (!settings) return report(settings.error());
  auto diagnosed = diagnose(uri, print_step, nullptr, *settings, interrupts());
  if (!diagnosed) return report(diagnosed.error());
  return finish_output();
}

}  // namespace streamer::cli
