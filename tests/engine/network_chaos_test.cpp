// SPDX-License-Identifier: Apache-2.0
// N32: a store at which every answer may go wrong, again and again, for 10,000 chunks.
#include <cmath>
#include <random>

#include "support/network_faults.hpp"
#include "support/sanitized.hpp"

using namespace streamer::core;
using namespace streamer::test;

namespace {

// One of the faults, drawn anew for each request.
StoreWorld::Fault chaos(StoreLab& lab, std::uint64_t seed, double share,
                        double most_junk = 60'000) {
  auto guarded = std::make_shared<std::pair<std::mutex, std::mt19937_64>>();
  guarded->second.seed(seed);
  return [&lab, guarded, share, most_junk](const WireRequest& request, Wire& wire, std::uint32_t) {
    std::uint32_t what = 0;
    double size = 0;
    std::uint32_t junk_seed = 0;
    {
      const std::lock_guard lock(guarded->first);
      if (std::uniform_real_distribution<>(0, 1)(guarded->second) >= share) return false;
      what = static_cast<std::uint32_t>(guarded->second() % 16);
      size = std::uniform_real_distribution<>(0, 1)(guarded->second);
      junk_seed = static_cast<std::uint32_t>(guarded->second());
    }
    const StoreWorld::Range range = lab.world.range_of(request);
    const auto cut = static_cast<std::size_t>(size * static_cast<double>(range.bytes.size()));
    switch (what) {
      case 0:
        wire.reset();
        break;
      case 1:
        wire.send(lab.world.head_206(range) + range.bytes.substr(0, cut));
        wire.reset();
        break;
      case 2:
        wire.send(lab.world.head_206(range) + range.bytes.substr(0, cut));
        wire.close();
        break;
      case 3:
        wire.send(lab.world.head_206(range) + range.bytes.substr(0, cut));
        wire.stall();
        break;
      case 4:
        lab.world.answer_error(wire, 500, "InternalError");
        break;
      case 5:
        wire.send("HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\n\r\nwrong");
        break;
      case 6:
        wire.send(fmt::format("HTTP/1.1 206 Partial Content\r\nETag: {}\r\nConnection: close\r\n"
                              "Content-Range: bytes {}-{}/{}\r\n\r\n",
                              range.etag, range.first, range.last, range.total) +
                  range.bytes.substr(0, cut));
        wire.close();
        break;
      case 7:
        wire.close();
        break;
      default: {
        const double share_of_most = static_cast<double>(junk_seed % 1000) / 1000;
        const auto bytes = static_cast<std::size_t>(std::pow(most_junk, share_of_most));
        answer_with_junk(lab, request, wire, kFramings[(what - 8) % std::size(kFramings)], cut,
                         make_junk(kJunks[junk_seed % 3], bytes, junk_seed));
      }
    }
    return true;
  };
}

void run(std::uint32_t seeds, std::uint32_t tensors) {
  for (std::uint32_t seed = 1; seed <= seeds; ++seed) {
    INFO("seed " << seed);
    StoreLab lab("127.0.0.1", tensors, 100'003);
    lab.world.set_fault(chaos(lab, seed, 0.05));
    Settings settings = lab.settings("32");
    const bool has_chunks = seed % 4 != 0;
    REQUIRE(settings.set(setting::kChunkBytes, has_chunks ? "8KiB" : "auto"));
    REQUIRE(settings.set(setting::kStallTimeoutMs, kShortStallMs));
    REQUIRE(settings.set(setting::kHedging, seed % 2 == 0 ? "auto" : "off"));
    const NetworkOutcome outcome = lab.load(settings);
    if (outcome.error) FAIL(outcome.error->line());
    if (has_chunks) CHECK(outcome.stats.chunks >= tensors * 12);
    CHECK(outcome.stats.bytes_network - outcome.stats.bytes_discarded == lab.data.size());
    CHECK(lab.world.bad_signatures() == 0);
  }
}

}  // namespace

TEST_CASE("N32 chaos, briefly", "[brief]") {
  run(2, 40);
}

// What waits for its next attempt must not be forgotten while what is behind it waits for the
// window.
TEST_CASE("N32 chaos, with hardly any memory", "[brief]") {
  for (std::uint32_t seed = 1; seed <= 3; ++seed) {
    INFO("seed " << seed);
    StoreLab lab("127.0.0.1", 40, 100'003);
    lab.world.set_fault(chaos(lab, seed, 0.1));
    Settings settings = lab.settings("4");
    REQUIRE(settings.set(setting::kStallTimeoutMs, kShortStallMs));
    REQUIRE(settings.set(setting::kMemoryLimit, "minimum"));
    const NetworkOutcome outcome = lab.load(settings);
    if (outcome.error) FAIL(outcome.error->line());
  }
}

// Of whatever size: what was read is right, or the load failed and said why.
TEST_CASE("N32 chaos with junk that is longer than what is held back", "[brief]") {
  std::uint32_t errors = 0;
  const std::uint32_t seeds = 12;
  for (std::uint32_t seed = 1; seed <= seeds; ++seed) {
    INFO("seed " << seed);
    StoreLab lab("127.0.0.1", 12, 700'003);
    lab.may_be_wrong_and_fail = true;
    lab.world.set_fault(chaos(lab, seed, 0.2, 4e6));
    Settings settings = lab.settings(std::to_string(1 + seed % 8));
    REQUIRE(settings.set(setting::kChunkBytes, seed % 3 == 0 ? "256KiB" : "auto"));
    REQUIRE(settings.set(setting::kStallTimeoutMs, kShortStallMs));
    REQUIRE(settings.set(setting::kHedging, seed % 2 == 0 ? "auto" : "off"));
    const NetworkOutcome outcome = lab.load(settings);
    if (!outcome.error) continue;
    ++errors;
    INFO(outcome.error->line());
    CHECK(outcome.error->kind() == ErrorKind::corrupt);
  }
  CHECK(errors < seeds / 2);
}

TEST_CASE("N32 chaos: 10,000 chunks for each of 20 seeds", "[long]") {
  run(20, 820);
}
