// SPDX-License-Identifier: Apache-2.0
// Bytes through pinned segments to a device, on a stand-in that takes its time and fails on demand.
#include "gpu/device_copier.hpp"

#include <fmt/format.h>

#include <cstring>
#include <functional>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "gpu/kept_segments.hpp"
#include "support/catch.hpp"
#include "support/cuda_stand_in.hpp"

using namespace streamer::core;
using namespace streamer::test;

namespace {

constexpr std::uint64_t kSegmentBytes = 8192;

struct Schedule {
  std::uint64_t seed = 1;
  int devices = 1;
  std::uint32_t streams = 1;
  std::uint32_t segments = 4;
  std::uint32_t readers = 2;
  std::uint32_t jobs = 40;  // of each reader
  std::uint32_t longest_delay_us = 100;
};

struct Outcome {
  std::vector<Error> failures;  // told by copiers
  std::size_t copied = 0;
  std::vector<std::string> violations;
  std::size_t things_alive = 0;
};

unsigned char byte_at(std::uint64_t position) {
  return static_cast<unsigned char>(position * 31 + position / 253);
}

// Readers fill segments and submit them; every byte of every device is compared at the end.
Outcome run(const Schedule& schedule, const std::function<void(CudaStandIn&)>& prepare = {}) {
  Outcome outcome;
  CudaStandIn cuda({.devices = schedule.devices,
                    .seed = schedule.seed,
                    .longest_delay_us = schedule.longest_delay_us});
  const std::uint64_t bytes = schedule.readers * schedule.jobs * kSegmentBytes;
  if (prepare) prepare(cuda);
  std::mutex mutex;
  std::set<std::pair<std::size_t, std::uint64_t>> copied;
  std::atomic<bool> has_failed{false};
  std::vector<std::unique_ptr<DeviceMemory>> memory;
  {
    std::vector<std::unique_ptr<PinnedSegments>> segments;
    std::vector<std::unique_ptr<DeviceCopier>> copiers;
    for (int device = 0; device < schedule.devices; ++device) {
      auto made = PinnedSegments::make(cuda, device, schedule.segments, kSegmentBytes);
      REQUIRE(made);
      {
        const std::lock_guard lock(mutex);
        segments.push_back(*std::move(made));
      }
      memory.push_back(
          std::make_unique<DeviceMemory>(cuda, device, bytes, DeviceAllocator::malloc));
      DeviceCopier::Callbacks callbacks;
      callbacks.copied = [&, number = static_cast<std::size_t>(device)](std::uint64_t token) {
        const std::lock_guard lock(mutex);
        if (!copied.insert({number, token}).second)
          outcome.violations.push_back("a segment was reported twice");
      };
      callbacks.failed = [&](Error error) {
        const std::lock_guard lock(mutex);
        outcome.failures.push_back(std::move(error));
        has_failed = true;
        for (const auto& one : segments)
          one->given_back().notify();
      };
      callbacks.noted = [](const std::string&) {};
      auto started =
          DeviceCopier::start(*memory.back(), cuda, *segments.back(),
                              {.device = device, .streams = schedule.streams}, callbacks);
      REQUIRE(started);
      copiers.push_back(*std::move(started));
    }
    std::vector<std::thread> readers;
    for (std::uint32_t reader = 0; reader < schedule.readers && !has_failed; ++reader) {
      readers.emplace_back([&, reader] {
        std::mt19937_64 random(schedule.seed * 100 + reader);
        for (std::uint32_t job = 0; job < schedule.jobs && !has_failed; ++job) {
          const auto device = static_cast<std::size_t>(random() % copiers.size());
          PinnedSegments& own = *segments[device];
          EventCount& given_back = own.given_back();
          std::optional<std::uint32_t> segment;
          while (!segment && !has_failed) {
            const std::uint32_t ticket = given_back.prepare();
            segment = own.try_take();
            if (segment || has_failed) {
              given_back.retract();
            } else {
              given_back.wait(ticket, std::nullopt);
            }
          }
          if (!segment) return;
          const std::uint64_t number = reader * schedule.jobs + job;
          std::byte* const to = memory[device]->data() + number * kSegmentBytes;
          // In up to three copies.
          std::vector<DeviceCopy> copies;
          for (std::uint64_t at = 0; at < kSegmentBytes;) {
            const std::uint64_t size =
                copies.size() == 2 ? kSegmentBytes - at
                                   : std::min(kSegmentBytes - at, 1 + random() % kSegmentBytes);
            copies.push_back({to + at, at, size});
            at += size;
          }
          for (std::uint64_t i = 0; i < kSegmentBytes; ++i)
            own.data(*segment)[i] = static_cast<std::byte>(byte_at(number * kSegmentBytes + i));
          copiers[device]->submit(*segment, std::move(copies), number);
        }
      });
    }
    for (std::thread& reader : readers)
      reader.join();
    if (!has_failed) {
      // All of them arrive, without being asked for.
      const auto is_done = [&] {
        const std::lock_guard lock(mutex);
        return copied.size() == schedule.readers * schedule.jobs || has_failed;
      };
      while (!is_done())
        std::this_thread::yield();
    }
  }
  outcome.copied = copied.size();
  for (const auto& [device, number] : copied) {
    bool is_same = true;
    for (std::uint64_t i = 0; i < kSegmentBytes; ++i) {
      const std::uint64_t at = number * kSegmentBytes + i;
      is_same = is_same && memory[device]->data()[at] == static_cast<std::byte>(byte_at(at));
    }
    if (!is_same)
      outcome.violations.push_back(fmt::format("segment {} is not what it was", number));
  }
  memory.clear();
  for (const std::string& violation : cuda.violations())
    outcome.violations.push_back(violation);
  outcome.things_alive = cuda.things_alive();
  return outcome;
}

}  // namespace

TEST_CASE("every byte reaches its device once, whatever the schedule", "[copier]") {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    std::mt19937_64 random(seed);
    const Schedule schedule{.seed = seed,
                            .devices = static_cast<int>(1 + random() % 8),
                            .streams = static_cast<std::uint32_t>(1 + random() % 4),
                            .segments = static_cast<std::uint32_t>(2 + random() % 63),
                            .readers = static_cast<std::uint32_t>(1 + random() % 4),
                            .jobs = 20,
                            .longest_delay_us = static_cast<std::uint32_t>(random() % 300)};
    INFO("seed " << seed);
    const Outcome outcome = run(schedule);
    CHECK(outcome.failures.empty());
    CHECK(outcome.copied == schedule.readers * schedule.jobs);
    CHECK(outcome.violations == std::vector<std::string>());
    CHECK(outcome.things_alive == 0);
  }
}

TEST_CASE("1,000 schedules of segments and copies", "[schedules]") {
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    std::mt19937_64 random(seed * 7919);
    const Outcome outcome = run({.seed = seed,
                                 .devices = static_cast<int>(1 + random() % 2),
                                 .streams = static_cast<std::uint32_t>(1 + random() % 4),
                                 .segments = static_cast<std::uint32_t>(2 + random() % 6),
                                 .readers = static_cast<std::uint32_t>(1 + random() % 3),
                                 .jobs = 6,
                                 .longest_delay_us = static_cast<std::uint32_t>(random() % 30)});
    INFO("seed " << seed);
    CHECK(outcome.failures.empty());
    CHECK(outcome.violations == std::vector<std::string>());
    CHECK(outcome.things_alive == 0);
  }
}

TEST_CASE("a call that fails is one clear error, and nothing is left behind", "[copier]") {
  for (const bool is_sticky : {false, true}) {
    for (const char* const function :
         {"cuMemAlloc", "cuStreamCreate", "cuEventCreate", "cuMemcpyHtoDAsync", "cuEventRecord",
          "cuEventSynchronize", "cuCtxSetCurrent", "cuDevicePrimaryCtxRetain"}) {
      for (const int n : {1, 2}) {
        INFO(function << " " << n << (is_sticky ? " sticky" : ""));
        const Outcome outcome = run({.devices = 2, .streams = 2, .jobs = 20},
                                    [&](CudaStandIn& cuda) { cuda.fail(function, n, is_sticky); });
        // With a lost device, every copier tells of it.
        const std::size_t most = is_sticky ? 2 : 1;
        CHECK(outcome.failures.size() <= most);
        CHECK(!outcome.failures.empty());
        for (const Error& error : outcome.failures)
          CHECK(error.kind() == ErrorKind::device);
        CHECK(outcome.violations == std::vector<std::string>());
        if (!is_sticky && std::string_view(function) != "cuCtxSetCurrent")
          CHECK(outcome.things_alive == 0);
      }
    }
  }
}

TEST_CASE("memory that cannot be pinned is used as it is, and noted", "[copier]") {
  CudaStandIn cuda({});
  cuda.fail("cuMemHostRegister", 1);
  const auto segments = PinnedSegments::make(cuda, 0, 2, 5000);
  REQUIRE(segments);
  CHECK((*segments)->segment_bytes() == 8192);
  CHECK_FALSE((*segments)->try_take());
  CHECK((*segments)->pin_more());
  CHECK_FALSE((*segments)->pin_more());
  CHECK_THAT((*segments)->note(), Catch::Contains("not pinned") && Catch::Contains("16384"));
  const auto first = (*segments)->try_take();
  const auto second = (*segments)->try_take();
  REQUIRE((first && second));
  CHECK_FALSE((*segments)->try_take());
  (*segments)->give_back(*first);
  CHECK((*segments)->try_take() == first);
}

TEST_CASE("a copier that is stopped lets go of every segment", "[copier]") {
  CudaStandIn cuda({.longest_delay_us = 2000});
  {
    DeviceMemory memory(cuda, 0, 16 * kSegmentBytes, DeviceAllocator::malloc);
    const auto segments = PinnedSegments::make(cuda, 0, 16, kSegmentBytes);
    REQUIRE(segments);
    {
      const DeviceCopier::Callbacks callbacks{.copied = [](std::uint64_t) {},
                                              .failed = [](Error) {},
                                              .noted = [](const std::string&) {}};
      auto copier = DeviceCopier::start(memory, cuda, **segments, {.streams = 2}, callbacks);
      REQUIRE(copier);
      for (std::uint64_t i = 0; i < 16;) {
        const auto segment = (*segments)->try_take();
        if (!segment) continue;
        std::memset((*segments)->data(*segment), static_cast<int>(i), kSegmentBytes);
        (*copier)->submit(*segment, {{memory.data() + i * kSegmentBytes, 0, kSegmentBytes}}, i);
        ++i;
        if (i == 15) (*copier)->stop();
      }
    }
    // Nothing is on its way any more.
    CHECK((*segments)->close());
  }
  CHECK(cuda.violations() == std::vector<std::string>());
  CHECK(cuda.things_alive() == 0);
}

TEST_CASE("a stream of the consumer waits for copies, and copies wait for what it reads",
          "[copier]") {
  CudaStandIn cuda({.longest_delay_us = 300});
  {
    DeviceMemory memory(cuda, 0, kSegmentBytes, DeviceAllocator::pool);
    const auto segments = PinnedSegments::make(cuda, 0, 4, kSegmentBytes);
    REQUIRE(segments);
    REQUIRE(cuda.use_device(0));
    const GpuStream consumer = *cuda.create_stream();
    std::vector<std::byte> seen(64 * kSegmentBytes);
    {
      const DeviceCopier::Callbacks callbacks{
          // What the consumer does with every tensor: reads it, in its own stream.
          .copied =
              [&](std::uint64_t token) {
                cuda.enqueue(consumer, [&, token] {
                  std::memcpy(seen.data() + token * kSegmentBytes, memory.data(), kSegmentBytes);
                });
              },
          .failed = [](Error error) { FAIL(error.line()); },
          .noted = [](const std::string&) {}};
      const DeviceCopier::Options options{
          .streams = 3, .consumer_stream = consumer, .overwrites = true};
      auto copier = DeviceCopier::start(memory, cuda, **segments, options, callbacks);
      REQUIRE(copier);
      // All to the same place.
      for (std::uint64_t i = 0; i < 64;) {
        const auto segment = (*segments)->try_take();
        if (!segment) continue;
        std::memset((*segments)->data(*segment), static_cast<int>(i), kSegmentBytes);
        (*copier)->submit(*segment, {{memory.data(), 0, kSegmentBytes}}, i);
        ++i;
      }
      while (cuda.calls("cuEventSynchronize") < 64)
        std::this_thread::yield();
    }
    REQUIRE(cuda.synchronize(consumer));
    for (std::uint64_t i = 0; i < 64; ++i) {
      CHECK(seen[i * kSegmentBytes] == static_cast<std::byte>(i));
      CHECK(seen[(i + 1) * kSegmentBytes - 1] == static_cast<std::byte>(i));
    }
    REQUIRE(cuda.destroy_stream(consumer));
  }
  CHECK(cuda.violations() == std::vector<std::string>());
  CHECK(cuda.things_alive() == 0);
}

TEST_CASE("memory that a device does not have is an error that says how much it has", "[copier]") {
  CudaStandIn cuda({.memory_bytes = 1000});
  for (const DeviceAllocator allocator : {DeviceAllocator::malloc, DeviceAllocator::pool}) {
    DeviceMemory memory(cuda, 0, 2000, allocator);
    const auto outcome = memory.allocate();
    REQUIRE_FALSE(outcome);
    CHECK(outcome.error().kind() == ErrorKind::out_of_memory);
    CHECK_THAT(outcome.error().message(), Catch::Contains("2000") && Catch::Contains("1000") &&
                                              Catch::Contains("device_memory_limit"));
  }
  CHECK(cuda.things_alive() == 0);
}

TEST_CASE("pinned segments are kept for the next load on the same device", "[copier]") {
  CudaStandIn cuda({});
  REQUIRE(cuda.use_device(0));  // this thread pins
  {
    auto segments = PinnedSegments::make(cuda, 0, 4, kSegmentBytes);
    REQUIRE(segments);
    while ((*segments)->pin_more()) {
    }
    const PinnedSegments* const first = segments->get();
    keep_segments(0, *std::move(segments));
    CHECK(kept_segments_bytes() == 4 * kSegmentBytes);
    CHECK(take_kept_segments(cuda, 1, 4, kSegmentBytes) == nullptr);
    CHECK(take_kept_segments(cuda, 0, 8, kSegmentBytes) == nullptr);
    auto again = take_kept_segments(cuda, 0, 4, kSegmentBytes);
    CHECK(again.get() == first);
    CHECK(kept_segments_bytes() == 0);
    keep_segments(0, std::move(again));
    // A second one for the device takes its place.
    auto second = PinnedSegments::make(cuda, 0, 4, kSegmentBytes);
    keep_segments(0, *std::move(second));
    CHECK(kept_segments_bytes() == 4 * kSegmentBytes);
  }
  drop_kept_segments();
  CHECK(kept_segments_bytes() == 0);
  CHECK(cuda.calls("cuMemHostRegister") == cuda.calls("cuMemHostUnregister"));
  CHECK(cuda.things_alive() == 0);
}
