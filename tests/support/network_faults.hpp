// SPDX-License-Identifier: Apache-2.0
#pragma once
// Faults of a store, when they strike, and what a load must make of them.

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "support/store_lab.hpp"

namespace streamer::test {

using Range = StoreWorld::Range;

// A fault that hits the first `hits` requests for ranges, every third one.
inline StoreWorld::Fault first_hits(std::uint32_t hits,
                                    std::function<void(const WireRequest&, Wire&)> what) {
  auto left = std::make_shared<std::atomic<std::int32_t>>(static_cast<std::int32_t>(hits));
  return
      [left, what = std::move(what)](const WireRequest& request, Wire& wire, std::uint32_t turn) {
        if (turn % 3 != 1 || left->fetch_sub(1) <= 0) return false;
        what(request, wire);
        return true;
      };
}

inline StoreWorld::Fault always(std::function<void(const WireRequest&, Wire&)> what) {
  return [what = std::move(what)](const WireRequest& request, Wire& wire, std::uint32_t) {
    what(request, wire);
    return true;
  };
}

// How many connections each fault is met with.
inline std::vector<std::string> connection_counts() {
  return {"1", "64"};
}

// The load must come through, with every byte right and at least one retry.
inline void recovers(std::function<void(StoreLab&, const WireRequest&, Wire&)> what,
                     std::uint32_t hits = 4) {
  for (const std::string& connections : connection_counts()) {
    INFO("connections: " << connections);
    StoreLab lab;
    lab.world.set_fault(first_hits(
        hits, [&](const WireRequest& request, Wire& wire) { what(lab, request, wire); }));
    const NetworkOutcome outcome = lab.load(lab.settings(connections));
    if (outcome.error) FAIL(outcome.error->line());
    CHECK(outcome.stats.retries >= 1);
    CHECK(lab.world.bad_signatures() == 0);
  }
}

// The load must fail with this kind; what it said.
inline core::ErrorFields fails(core::ErrorKind kind,
                               std::function<void(StoreLab&, const WireRequest&, Wire&)> what) {
  core::ErrorFields last;
  for (const std::string& connections : connection_counts()) {
    INFO("connections: " << connections);
    StoreLab lab;
    lab.world.set_fault(
        always([&](const WireRequest& request, Wire& wire) { what(lab, request, wire); }));
    NetworkOutcome outcome = lab.load(lab.settings(connections));
    REQUIRE(outcome.error);
    INFO(outcome.error->line());
    CHECK(outcome.error->kind() == kind);
    CHECK(outcome.error->fields().uri == lab.uri());
    last = outcome.error->fields();
  }
  return last;
}

inline void send_with_head(Wire& wire, const Range& range, const std::string& head) {
  wire.send(head + range.bytes);
}

}  // namespace streamer::test
