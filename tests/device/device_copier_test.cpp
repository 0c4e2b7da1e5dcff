// SPDX-License-Identifier: Apache-2.0
// Bytes through pinned segments to a device, on a stand-in that takes its time and fails on demand.
#include "device/device_copier.hpp"

#include <mutex>
#include <random>
#include <set>
#include <thread>

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
  std::optional<Error> made;    // what make() said
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
  std::vector<std::byte*> memory;
  for (int device = 0; device < schedule.devices; ++device) {
    REQUIRE(cuda.use_device(device));
    memory.push_back(static_cast<std::byte*>(*cuda.allocate(bytes)));
  }
  REQUIRE(cuda.use_device(0));
  if (prepare) prepare(cuda);
  std::mutex mutex;
  std::set<std::pair<int, std::uint64_t>> copied;
  std::atomic<bool> has_failed{false};
  {
    auto segments = PinnedSegments::make(cuda, schedule.segments, kSegmentBytes);
    REQUIRE(segments);
    std::vector<std::unique_ptr<DeviceCopier>> copiers;
    for (int device = 0; device < schedule.devices && !outcome.made; ++device) {
      auto made = DeviceCopier::make(
          cuda, device, schedule.streams, **segments,
          [&, device](std::uint64_t token) {
            const std::lock_guard lock(mutex);
            if (!copied.insert({device, token}).second)
              outcome.violations.push_back("a segment was reported twice");
          },
          [&](Error error) {
            const std::lock_guard lock(mutex);
            outcome.failures.push_back(std::move(error));
            has_failed = true;
            (*segments)->given_back().notify();
          });
      if (made) {
        copiers.push_back(*std::move(made));
      } else {
        outcome.made = std::move(made).error();
      }
    }
    std::vector<std::thread> readers;
    for (std::uint32_t reader = 0; reader < schedule.readers && !outcome.made; ++reader) {
      readers.emplace_back([&, reader] {
        std::mt19937_64 random(schedule.seed * 100 + reader);
        for (std::uint32_t job = 0; job < schedule.jobs && !has_failed; ++job) {
          EventCount& given_back = (*segments)->given_back();
          std::optional<std::uint32_t> segment;
          while (!segment && !has_failed) {
            const std::uint32_t ticket = given_back.prepare();
            segment = (*segments)->try_take();
            if (segment || has_failed) {
              given_back.retract();
            } else {
              given_back.wait(ticket, std::nullopt);
            }
          }
          if (!segment) return;
          const std::uint64_t number = reader * schedule.jobs + job;
          const auto device = static_cast<std::size_t>(random() % copiers.size());
          std::byte* const to = memory[device] + number * kSegmentBytes;
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
            (*segments)->data(*segment)[i] =
                static_cast<std::byte>(byte_at(number * kSegmentBytes + i));
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
        return copied.size() == schedule.readers * schedule.jobs || has_failed || outcome.made;
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
      is_same = is_same &&
                memory[static_cast<std::size_t>(device)][at] == static_cast<std::byte>(byte_at(at));
    }
    if (!is_same)
      outcome.violations.push_back(fmt::format("segment {} is not what it was", number));
  }
  for (std::byte* one : memory)
    static_cast<void>(cuda.free(one).has_value());
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
    CHECK_FALSE(outcome.made);
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
         {"cudaStreamCreateWithFlags", "cudaEventCreateWithFlags", "cudaMemcpyAsync",
          "cudaEventRecord", "cudaEventSynchronize", "cudaSetDevice", "cudaGetDevice"}) {
      for (const int n : {1, 2, 5}) {
        INFO(function << " " << n << (is_sticky ? " sticky" : ""));
        int before = 0;
        const Outcome outcome = run({.devices = 2, .streams = 2}, [&](CudaStandIn& cuda) {
          before = cuda.calls(function);
          cuda.fail(function, before + n, is_sticky);
        });
        std::size_t told = outcome.failures.size() + (outcome.made ? 1 : 0);
        // Putting the caller's device back is not worth an error.
        const bool may_pass = std::string_view(function) == "cudaSetDevice" ||
                              std::string_view(function) == "cudaGetDevice" ||
                              std::string_view(function) == "cudaStreamCreateWithFlags";
        CHECK((told >= 1 || may_pass));
        CHECK((told <= 1 || is_sticky));
        for (const Error& error : outcome.failures)
          CHECK(error.kind() == ErrorKind::device);
        CHECK(outcome.violations == std::vector<std::string>());
        if (!is_sticky && std::string_view(function) != "cudaSetDevice")
          CHECK(outcome.things_alive == 0);
      }
    }
  }
}

TEST_CASE("memory that cannot be pinned is used as it is, and noted", "[copier]") {
  CudaStandIn cuda({});
  cuda.fail("cudaHostRegister", 1);
  const auto segments = PinnedSegments::make(cuda, 2, 5000);
  REQUIRE(segments);
  CHECK((*segments)->segment_bytes() == 8192);
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
  std::byte* const memory = static_cast<std::byte*>(*cuda.allocate(16 * kSegmentBytes));
  {
    const auto segments = PinnedSegments::make(cuda, 16, kSegmentBytes);
    REQUIRE(segments);
    {
      auto copier = DeviceCopier::make(
          cuda, 0, 2, **segments, [](std::uint64_t) {}, [](Error) {});
      REQUIRE(copier);
      for (std::uint64_t i = 0; i < 16; ++i) {
        const auto segment = (*segments)->try_take();
        REQUIRE(segment);
        std::memset((*segments)->data(*segment), static_cast<int>(i), kSegmentBytes);
        (*copier)->submit(*segment, {{memory + i * kSegmentBytes, 0, kSegmentBytes}}, i);
      }
      (*copier)->stop();
    }
    // At once memory may go: nothing is on its way any more.
    REQUIRE(cuda.free(memory));
    for (int i = 0; i < 16; ++i)
      CHECK((*segments)->try_take());
  }
  CHECK(cuda.violations() == std::vector<std::string>());
  CHECK(cuda.things_alive() == 0);
}
