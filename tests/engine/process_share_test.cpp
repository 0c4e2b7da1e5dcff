// SPDX-License-Identifier: Apache-2.0
#include "engine/process_share.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "engine/elastic_window.hpp"
#include "engine/process_settings.hpp"
#include "support/catch.hpp"
#include "support/lab.hpp"
#include "support/sanitized.hpp"

using namespace streamer::core;
using namespace streamer::test;

namespace {

const auto nobody_waits = [] {};

// The process's limits for one test.
class Limited {
 public:
  explicit Limited(const ProcessLimits& limits) { ProcessShare::mine().set_limits(limits); }
  Limited(const Limited&) = delete;
  Limited& operator=(const Limited&) = delete;
  ~Limited() { ProcessShare::mine().set_limits({}); }
};

}  // namespace

TEST_CASE("what one load holds another one is refused until it is given back", "[process]") {
  ProcessShare process;
  process.set_limits({.memory_bytes = 100});
  int told = 0;
  LoadShare first(process, nobody_waits);
  LoadShare second(process, [&] { ++told; });
  REQUIRE(first.take(60, false));
  CHECK_FALSE(second.take(60, false));
  CHECK(second.is_refused());
  CHECK(second.take(40, false));
  CHECK_FALSE(second.is_refused());
  CHECK_FALSE(second.take(1, false));
  first.give(10);
  CHECK(told == 1);
  CHECK_FALSE(second.is_refused());
  first.give(10);
  CHECK(told == 1);  // nobody is refused any more
  CHECK(second.take(20, false));
  CHECK(process.use().memory_bytes == 100);
}

TEST_CASE("what a load may not be refused is counted all the same", "[process]") {
  ProcessShare process;
  process.set_limits({.memory_bytes = 100});
  LoadShare first(process, nobody_waits);
  LoadShare second(process, nobody_waits);
  REQUIRE(first.take(100, false));
  CHECK(second.take(50, true));
  CHECK(process.use().memory_bytes == 150);
  first.give(50);
  CHECK_FALSE(first.take(1, false));
}

TEST_CASE("a load that ends gives back all that it holds", "[process]") {
  ProcessShare process;
  process.set_automatic_memory(100);
  bool told = false;
  LoadShare waits(process, [&] { told = true; });
  {
    LoadShare ends(process, nobody_waits);
    ends.joins_network(8);
    REQUIRE(ends.take(90, false));
    CHECK_FALSE(waits.take(20, false));
    CHECK(process.use().loads == 2);
    CHECK(process.use().network_loads == 1);
    CHECK(process.use().memory_limit_bytes == 100);
  }
  CHECK(told);
  CHECK(process.use().loads == 1);
  CHECK(process.use().network_loads == 0);
  CHECK(process.use().memory_bytes == 0);
}

TEST_CASE("loads over a network have equal parts of the connections", "[process]") {
  ProcessShare process;
  auto first = std::make_unique<LoadShare>(process, nobody_waits);
  LoadShare second(process, nobody_waits);
  first->joins_network(256);
  CHECK(process.connections_each() == 256);  // alone: as many as it may have
  second.joins_network(256);
  CHECK(process.connections_each() == 128);
  process.set_limits({.connections = 9});
  CHECK(process.connections_each() == 4);
  process.set_limits({.connections = 1});
  CHECK(process.connections_each() == 1);  // never none
  process.set_limits({.connections = 9});
  first.reset();
  CHECK(process.connections_each() == 9);
}

TEST_CASE("a load has its part of the connections while one of its readers runs", "[process]") {
  ProcessShare process;
  LoadShare reads(process, nobody_waits);
  LoadShare waits_its_turn(process, nobody_waits);
  reads.joins_network(256);
  reads.joins_network(256);
  CHECK(process.use().network_loads == 1);
  CHECK(process.connections_each() == 256);
  reads.leaves_network();
  waits_its_turn.joins_network(256);
  CHECK(process.connections_each() == 128);
  reads.leaves_network();
  CHECK(process.use().network_loads == 1);
  CHECK(process.connections_each() == 256);
}

TEST_CASE("a child counts its own loads only", "[process]") {
  LoadShare of_parent(ProcessShare::mine(), nobody_waits);
  REQUIRE(of_parent.take(1000, true));
  const int status = in_child([&] {
    if (ProcessShare::mine().use().memory_bytes != 0) return 1;
    of_parent.give(1000);
    return ProcessShare::mine().use().loads == 0 ? 0 : 2;
  });
  CHECK(status == 0);
  CHECK(ProcessShare::mine().use().memory_bytes >= 1000);
}

TEST_CASE("threads that take and give never hold more than the limit", "[process]") {
  constexpr std::uint64_t kLimit = 100;
  ProcessShare process;
  process.set_limits({.memory_bytes = kLimit});
  std::atomic<std::uint64_t> held{0};
  std::atomic<bool> is_too_much{false};
  std::atomic<std::uint64_t> told{0};
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 200; ++round) {
        LoadShare load(process, [&] { ++told; });
        for (int i = 0; i < 20; ++i) {
          if (!load.take(10 + t, false)) continue;
          if (held.fetch_add(10 + t) + 10 + t > kLimit) is_too_much = true;
          held.fetch_sub(10 + t);
          load.give(10 + t);
        }
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  CHECK_FALSE(is_too_much);
  CHECK(process.use().memory_bytes == 0);
}

// ---- In loads ----

namespace {

LoadSettings one_reader() {
  LoadSettings settings;
  settings.put(setting::kMapCached, false);  // these loads are about memory of their own
  settings.put(setting::kConcurrency, 1U).put(setting::kChunkBytes, 8192U);
  return settings;
}

// With blocks of two tensors of 10,000 bytes.
LoadOptions small_blocks(std::uint64_t ahead_bytes, WhenFull when_full) {
  LoadOptions options{.when_full = when_full};
  options.block_bytes = 20'000;
  options.ahead_bytes = ahead_bytes;
  return options;
}

// Takes what is there, and what comes while it looks.
std::vector<TensorLease*> take_all(Load& load) {
  std::vector<TensorLease*> taken;
  for (;;) {
    auto yielded = load.next(in(std::chrono::milliseconds(200)));
    REQUIRE(yielded);
    if (yielded->outcome != Load::Outcome::tensor) return taken;
    taken.push_back(yielded->lease);
  }
}

}  // namespace

TEST_CASE("loads at once stay within the memory of the process, and each gets its tensors",
          "[process]") {
  const Limited limited({.memory_bytes = 200'000});
  const Lab lab(equal_tensors(400, 10'000));
  const auto requests = everything(*lab.checkpoint);
  std::vector<std::unique_ptr<Load>> loads;
  for (int i = 0; i < 4; ++i)
    loads.push_back(start(lab, one_reader(), small_blocks(150'000, WhenFull::fail)));
  std::uint64_t most = 0;
  std::uint32_t tensors = 0;
  std::size_t ended = 0;
  while (ended < loads.size()) {
    for (auto& load : loads) {
      if (!load) continue;
      auto yielded = load->next(in(std::chrono::milliseconds(1)));
      REQUIRE(yielded);
      most = std::max(most, ProcessShare::mine().use().memory_bytes);
      if (yielded->outcome == Load::Outcome::tensor) {
        lab.check(*yielded->lease, requests);
        yielded->lease->release();
        ++tensors;
      } else if (yielded->outcome == Load::Outcome::end) {
        load.reset();
        ++ended;
      }
    }
  }
  CHECK(tensors == 4 * 400);
  // The next block of each load is never refused.
  CHECK(most <= 200'000 + 4 * 40'000);
  CHECK(most > 0);
  CHECK(ProcessShare::mine().use().memory_bytes == 0);
}

TEST_CASE("a load waits for memory that another one holds", "[process]") {
  const Limited limited({.memory_bytes = 400'000});
  const Lab lab(equal_tensors(100, 10'000));
  auto first = start(lab, one_reader(), small_blocks(4'000'000, WhenFull::wait));
  const auto held = take_all(*first);
  CHECK(held.size() < 60);
  auto second = start(lab, one_reader(), small_blocks(4'000'000, WhenFull::wait));
  const auto of_second = take_all(*second);
  CHECK(held.size() + of_second.size() <= 44);  // a first block is never refused
  for (TensorLease* const lease : held)
    lease->release();
  first.reset();
  // It is woken by what the other load gave back, having released nothing itself.
  const auto more = take_all(*second);
  CHECK_FALSE(more.empty());
  for (const auto* const all : {&of_second, &more}) {
    for (TensorLease* const lease : *all)
      lease->release();
  }
  CHECK(of_second.size() + more.size() + drain(*second, lab) == 100);
}

TEST_CASE("loads that hold all of the process's memory for good are told so", "[patience]") {
  const Limited limited({.memory_bytes = 400'000});
  const Lab lab(equal_tensors(100, 10'000));
  auto first = start(lab, one_reader(), small_blocks(4'000'000, WhenFull::wait));
  const auto held = take_all(*first);
  auto second = start(lab, one_reader(), small_blocks(4'000'000, WhenFull::fail));
  const auto of_second = take_all(*second);
  const auto outcome = second->next(std::nullopt);
  for (TensorLease* const lease : held)
    lease->release();
  for (TensorLease* const lease : of_second)
    lease->release();
  REQUIRE_FALSE(outcome);
  CHECK(outcome.error().kind() == ErrorKind::memory_limit);
  CHECK(outcome.error().message().find("raise process_memory_limit") != std::string::npos);
}

TEST_CASE("the bandwidth of the process is shared", "[process]") {
  constexpr std::uint64_t kRate = 8 * kMiB;
  const Limited limited({.bandwidth_bytes_per_s = kRate});
  const Lab lab(equal_tensors(20, 100'000));
  const auto began = std::chrono::steady_clock::now();
  auto first = start(lab, {}, {});
  auto second = start(lab, {}, {});
  CHECK(drain(*first, lab) == 20);
  CHECK(drain(*second, lab) == 20);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  // The first chunks of either need not wait.
  CHECK(seconds > 0.6 * 2 * 2'000'000 / static_cast<double>(kRate));
}
