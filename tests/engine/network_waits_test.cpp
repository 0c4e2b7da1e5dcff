// SPDX-License-Identifier: Apache-2.0
// What a load over a network waits for: segments of a device, and bandwidth.
#include <array>
#include <atomic>

#include "engine/load_settings.hpp"
#include "engine/process_share.hpp"
#include "support/network_faults.hpp"

using namespace streamer::core;
using namespace streamer::test;

TEST_CASE("N31 all connections to a device reset at once, with fewer segments than connections",
          "[network]") {
  constexpr std::uint64_t kChunk = 512 * kKiB;
  constexpr std::uint32_t kConnections = 6;
  StoreLab lab("127.0.0.1", kConnections, kChunk);
  Settings settings = lab.settings(std::to_string(kConnections));
  REQUIRE(settings.set(setting::kChunkBytes, "512KiB"));
  REQUIRE(settings.set(setting::kStagingSegmentBytes, "512KiB"));
  REQUIRE(settings.set(setting::kStagingBytes, "1MiB"));
  const auto checkpoint = lab.open(settings);
  REQUIRE(checkpoint);
  std::array<std::atomic<std::uint32_t>, kConnections + 1> place{};  // by chunk; 0: not broken yet
  std::atomic<std::uint32_t> broken{0};
  lab.world.set_fault([&](const WireRequest& request, Wire& wire, std::uint32_t) {
    const Range range = lab.world.range_of(request);
    if (range.bytes.size() < kChunk / 2) return false;
    auto& mine = place[range.first / kChunk];
    // Those whose bytes came last before the reset hold the segments. They come last again.
    if (mine != 0) return wire.pause(std::chrono::milliseconds(30 * mine)), false;
    wire.send(lab.world.head_206(range));
    // In turn with the others.
    for (std::size_t at = 0; at < 16; ++at) {
      wire.send(range.bytes.substr(at * 8 * kKiB, 8 * kKiB));
      wire.pause(std::chrono::milliseconds(2));
    }
    mine = ++broken;
    while (broken < kConnections && wire.is_open())
      wire.pause(std::chrono::milliseconds(1));
    wire.close_after_read();
    return true;
  });
  const NetworkOutcome outcome = lab.load(*checkpoint, settings, true);
  if (outcome.error) FAIL(outcome.error->line());
  CHECK(outcome.stats.retries >= kConnections);
}

TEST_CASE("a load that waits for bandwidth is not one to which nothing comes", "[network]") {
  StoreLab lab("127.0.0.1", 4, 512 * kKiB);
  Settings settings = lab.settings("2");
  REQUIRE(settings.set(setting::kChunkBytes, "512KiB"));
  REQUIRE(settings.set(setting::kProgressTimeoutMs, "500"));
  const auto checkpoint = lab.open(settings);
  REQUIRE(checkpoint);
  // The process is given a limit while the load runs, whose requests are long by then.
  lab.world.set_fault([](const WireRequest&, Wire&, std::uint32_t) {
    ProcessShare::mine().set_limits({.bandwidth_bytes_per_s = 512 * kKiB});
    return false;
  });
  const NetworkOutcome outcome = lab.load(*checkpoint, settings);
  ProcessShare::mine().set_limits({});
  if (outcome.error) FAIL(outcome.error->line());
  CHECK(outcome.stats.bandwidth_wait_ns > 1'000'000'000);
}
