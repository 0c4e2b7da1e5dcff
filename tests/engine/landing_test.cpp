// SPDX-License-Identifier: Apache-2.0
// A landing without a load: what sources may rely on, step by step, without threads.
#include "engine/landing.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "support/catch.hpp"

using namespace streamer;
using namespace streamer::core;

namespace {

constexpr std::uint64_t kTensorBytes = 10'000;

// Equal tensors of one object, one behind the other.
Plan equal_plan(std::uint32_t tensors, std::uint64_t tensor_bytes, const PlanOptions& options,
                bool with_an_empty_one = false) {
  TensorTable table;
  const std::array<std::uint64_t, 1> shape = {tensor_bytes};
  const std::array<std::uint64_t, 1> nothing = {0};
  for (std::uint32_t t = 0; t < tensors; ++t)
    table.add({std::to_string(t), Dtype::u8, shape, 0, {t * tensor_bytes, tensor_bytes}});
  if (with_an_empty_one) table.add({"empty", Dtype::u8, nothing, 0, {tensors * tensor_bytes, 0}});
  REQUIRE_FALSE(table.finish());
  std::vector<PlanRequest> requests(table.size());
  for (std::uint32_t t = 0; t < table.size(); ++t)
    requests[t].tensor = t;
  const auto list = make_reading_list(table, requests, false);
  REQUIRE(list);
  return Plan::make(*list, requests, options);
}

// The same, in chunks of a page.
Plan equal_plan(std::uint32_t tensors, std::uint64_t window_bytes, bool with_an_empty_one = false) {
  return equal_plan(tensors, kTensorBytes, {.chunk_bytes = 4096, .window_bytes = window_bytes},
                    with_an_empty_one);
}

LoadMemory memory_for(const Plan& plan) {
  auto arena = Arena::reserve(plan.memories()[0].arena_bytes);
  REQUIRE(arena);
  LoadMemory memory;
  memory.arena = *std::move(arena);
  memory.devices.resize(1);
  return memory;
}

std::unique_ptr<Landing> landing_of(Plan plan) {
  LoadMemory memory = memory_for(plan);
  return std::make_unique<Landing>(std::move(plan), std::move(memory), 0);
}

}  // namespace

TEST_CASE("an item is ready once the last of its chunks landed", "[landing]") {
  const auto landing = landing_of(equal_plan(2, 0));
  const LoadCounters counters(1);
  landing->begin(counters, 1);
  std::vector<std::uint32_t> ready;
  for (const Chunk& chunk : landing->plan().chunks()) {
    while (const auto item = landing->take_ready())
      ready.push_back(*item);
    // Not before all of its bytes are there.
    CHECK(ready.size() <= chunk.offset / kTensorBytes);
    CHECK(landing->is_whole(1) == false);
    landing->chunk_landed(chunk, counters[0]);
  }
  while (const auto item = landing->take_ready())
    ready.push_back(*item);
  CHECK(ready == std::vector<std::uint32_t>{0, 1});
  CHECK(landing->finished_ns() != 0);
  CHECK(counters[0].items_ready == 2);
  CHECK(counters[0].bytes_ready == 2 * kTensorBytes);
  LoadStats stats;
  CHECK(counters.add_to(stats) == 0);
  CHECK(stats.chunks == landing->plan().chunks().size());
}

TEST_CASE("a consumer that waits gives memory to what readers will write, and to no more",
          "[landing]") {
  if (!FreshPages::populate_by_system(nullptr, 0))
    return test::skip("the system cannot populate pages (Linux before 5.14)");
  drop_left_arena();
  Plan plan = equal_plan(8, 4 * kMiB, {.chunk_bytes = kMiB, .block_bytes = 4 * kMiB});
  LoadMemory memory = memory_for(plan);
  memory.elastic.first_ahead_bytes = 8 * kMiB;
  Landing landing(std::move(plan), std::move(memory), 0);
  const Arena& arena = landing.memory().arena;
  const auto resident_bytes = [&] {
    std::vector<unsigned char> pages(arena.bytes() / kPageBytes);
    REQUIRE(::mincore(arena.data(), arena.bytes(), pages.data()) == 0);
    return kPageBytes * static_cast<std::uint64_t>(std::ranges::count_if(
                            pages, [](unsigned char page) { return (page & 1U) != 0; }));
  };
  CHECK_FALSE(landing.touch_ahead());
  REQUIRE(landing.admits(landing.plan().chunks().front()));
  const std::uint64_t admitted = landing.used_arena_bytes();
  CHECK(admitted >= 4 * kMiB);
  CHECK(resident_bytes() == 0);
  std::uint64_t pages = 0;
  while (landing.touch_ahead())
    ++pages;
  CHECK(pages == admitted / kHugePageBytes);
  CHECK(resident_bytes() == pages * kHugePageBytes);
  // A reader that comes first does it itself.
  REQUIRE(landing.admits(landing.plan().chunks()[6]));
  const Place place = landing.plan().items()[1].place;
  static_cast<void>(landing.room_at(place, kHugePageBytes));
  CHECK(resident_bytes() > pages * kHugePageBytes);
}

TEST_CASE("an item without bytes is ready from the start", "[landing]") {
  const auto landing = landing_of(equal_plan(1, 0, true));
  const LoadCounters counters(1);
  CHECK_FALSE(landing->has_ready());
  landing->begin(counters, 1);
  REQUIRE(landing->has_ready());
  CHECK(landing->plan().items()[*landing->take_ready()].bytes == 0);
  CHECK_FALSE(landing->has_ready());
}

TEST_CASE("it is stuck once all threads that are left wait for a window", "[landing]") {
  // Room for one tensor at a time.
  const auto landing = landing_of(equal_plan(3, kTensorBytes));
  const LoadCounters counters(3);
  landing->begin(counters, 3);
  auto chunks = landing->plan().chunks();
  REQUIRE(landing->admits(chunks.front()));
  REQUIRE_FALSE(landing->admits(chunks.back()));
  std::uint64_t moves = landing->window_moves();
  landing->begins_to_wait(counters[0], moves);
  landing->begins_to_wait(counters[1], moves);
  CHECK_FALSE(landing->is_stuck());
  landing->threads_ended(1);
  CHECK(landing->is_stuck());
  landing->has_waited(counters[1], 0);
  CHECK_FALSE(landing->is_stuck());
  landing->begins_to_wait(counters[1], moves);
  // What left the host may still make something ready.
  landing->chunk_left_host();
  CHECK_FALSE(landing->is_stuck());
  landing->device_chunk_landed(chunks.front(), counters[1]);
  CHECK(landing->is_stuck());
  // A release moves the window: both are about to look again.
  landing->release_item(0);
  CHECK(landing->has_moved_since(moves));
  CHECK_FALSE(landing->is_stuck());
  moves = landing->window_moves();
  landing->begins_to_wait(counters[0], moves);
  landing->begins_to_wait(counters[1], moves);
  CHECK(landing->is_stuck());
  landing->threads_ended(2);
  CHECK_FALSE(landing->has_threads());
  CHECK_FALSE(landing->is_stuck());
}

TEST_CASE("the first failure is the load's, and wakes all that wait", "[landing]") {
  struct Listener final : StopListener {
    void load_stopped() noexcept override { ++heard; }
    int heard = 0;
  } listener;
  const auto landing = landing_of(equal_plan(3, kTensorBytes));
  const LoadCounters counters(1);
  landing->set_stop_listener(&listener);
  const auto operation = landing->open_operation();
  REQUIRE(operation);
  REQUIRE(landing->open_operation());
  const auto wake = landing->add_wake();
  REQUIRE(wake);
  landing->begin(counters, 1);
  std::thread waits([&] { landing->wait_for_window(counters[0], landing->window_moves()); });
  (*wake)->arm();
  landing->fail(Error(ErrorKind::io, "the first"));
  landing->fail(Error(ErrorKind::timed_out, "the second"));
  waits.join();
  CHECK(landing->is_stopped());
  CHECK(landing->failure().kind() == ErrorKind::io);
  CHECK(listener.heard >= 1);
  CHECK((*operation)->is_cancelled());
  std::uint64_t times = 0;
  CHECK(::read((*wake)->fd(), &times, sizeof times) == sizeof times);
  landing->set_stop_listener(nullptr);
}

TEST_CASE("pieces of an item land without chunks", "[landing]") {
  TensorTable table;
  const std::array<std::uint64_t, 1> shape = {kTensorBytes};
  table.add({"t", Dtype::u8, shape, 0, {0, kTensorBytes}});
  REQUIRE_FALSE(table.finish());
  const std::vector<PlanRequest> requests(1);
  const auto list = make_reading_list(table, requests, false);
  REQUIRE(list);
  const std::vector<std::uint32_t> pieces = {3};
  const auto landing =
      landing_of(Plan::make(*list, requests, {.pieces = std::span<const std::uint32_t>(pieces)}));
  CHECK(landing->plan().chunks().empty());
  const LoadCounters counters(1);
  landing->begin(counters, 1);
  landing->item_landed(0, counters[0]);
  landing->item_landed(0, counters[0]);
  CHECK_FALSE(landing->has_ready());
  landing->item_landed(0, counters[0]);
  CHECK(landing->take_ready() == 0U);
}
