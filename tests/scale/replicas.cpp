// SPDX-License-Identifier: Apache-2.0
// Prints how long 1 to 10,000 replicas take to load the same model from one store (simulation.hpp).
// By hand: replicas [MOST]. docs/many-machines.md has its table.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

#include "scale/simulation.hpp"

using namespace streamer::test;

namespace {

void row(const char* what, const SimulatedStore& store, const SimulatedLoads& loads) {
  const SimulatedOutcome got = simulate(store, loads);
  std::fputs(fmt::format("| {} | {} | {:.1f} | {:.1f} | {:.1f} | {:.1f} | {:.2f} % | {} | {} |\n",
                         what, loads.replicas, got.first_s, got.median_s, got.last_s, got.ideal_s,
                         100.0 * static_cast<double>(got.refused) /
                             static_cast<double>(std::max<std::uint64_t>(got.requests, 1)),
                         got.failed, got.most_connections)
                 .c_str(),
             stdout);
  std::fflush(stdout);
}

}  // namespace

int main(int count, char** arguments) {
  const std::uint32_t most =
      count > 1 ? static_cast<std::uint32_t>(std::strtoul(arguments[1], nullptr, 10)) : 10'000;
  std::puts(
      "| store | replicas | first, s | median, s | last, s | ideal, s | refused | failed | "
      "connections |\n|---|---|---|---|---|---|---|---|---|");
  for (std::uint32_t replicas = 1; replicas <= most; replicas *= 10) {
    SimulatedLoads loads{.replicas = replicas};
    row("one prefix", {}, loads);
    row("8 prefixes", {.prefixes = 8}, loads);
    row("one prefix, 400 GB/s", {.bytes_per_s = 400e9}, loads);
    if (replicas == 1) continue;
    loads.spread_s = 30;
    row("one prefix, starts over 30 s", {}, loads);
    loads.spread_s = 0;
    loads.naive_retry_s = 0.1;
    row("one prefix, if refused again after 0.1 s", {}, loads);
  }
  return 0;
}
