// SPDX-License-Identifier: Apache-2.0
// Loads of cached files, whose tensors are views of the page cache.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <thread>

#include "support/lab.hpp"

using namespace streamer::core;
using namespace streamer::test;
using namespace std::chrono_literals;

namespace {

LoadSettings defaults() {
  return {};
}

// A load with default settings whose tensors are views.
std::unique_ptr<Load> start_mapped(const Lab& lab, LoadOptions options = {}) {
  auto load = start(lab, defaults(), std::move(options));
  const LoadStats stats = load->stats();
  INFO(load->explain());
  REQUIRE(stats.bytes_mapped == stats.bytes_total);
  return load;
}

std::vector<std::byte> bytes_of(const TensorLease& lease) {
  return {lease.data(), lease.data() + lease.bytes()};
}

// The resident pages of mapped files, of this process.
std::uint64_t resident_file_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word != "RssFile:") continue;
    std::uint64_t kilobytes = 0;
    status >> kilobytes;
    return kilobytes * kKiB;
  }
  FAIL("no RssFile in /proc/self/status");
  return 0;
}

std::string why_not(const Lab& lab, const LoadSettings& settings) {
  auto load = start(lab, settings);
  CHECK(load->stats().bytes_mapped == 0);
  CHECK(drain(*load, lab) == lab.checkpoint->tensors.size());
  return load->explain();
}

}  // namespace

TEST_CASE("tensors of a cached file are views of it, and nothing is copied", "[mapped]") {
  const Lab lab(equal_tensors(64, kMiB));
  auto load = start_mapped(lab);
  CHECK_THAT(load->explain(), Catch::Contains("mapped files: 1 of 1: "));
  CHECK(drain(*load, lab) == 64);
  const LoadStats stats = load->stats();
  CHECK(stats.bytes_ready == stats.bytes_total);
  CHECK(stats.items_ready == 64);
  CHECK(stats.bytes_page_cache == stats.bytes_total);
  CHECK(stats.bytes_read == stats.bytes_total);
  CHECK(stats.arena_bytes == 0);
  CHECK(stats.readers == 0);
}

TEST_CASE("pages of released views leave the process", "[mapped]") {
  const Lab lab(equal_tensors(64, 4 * kMiB));
  const std::uint64_t before = resident_file_bytes();
  auto load = start_mapped(lab);
  const auto requests = everything(*lab.checkpoint);
  std::uint64_t most = 0;
  while (TensorLease* const lease = next(*load)) {
    lab.check(*lease, requests);
    lease->release();
    most = std::max(most, resident_file_bytes());
  }
  // 64 MiB are mapped ahead, beside the tensor that is in use and what the program itself brings.
  CHECK(most < before + 64 * kMiB + 16 * kMiB);
  CHECK(resident_file_bytes() < before + 16 * kMiB);
}

TEST_CASE("a view that is written to is a copy", "[mapped]") {
  const Lab lab(equal_tensors(4, kMiB));
  {
    auto load = start_mapped(lab);
    TensorLease* const lease = next(*load);
    std::memset(lease->data(), 7, lease->bytes());
    CHECK(lease->data()[kMiB - 1] == std::byte{7});
    lease->release();
  }
  auto again = start_mapped(lab);
  CHECK(drain(*again, lab) == 4);
}

TEST_CASE("whoever writes to a mapped file waits until views in use are moved", "[mapped]") {
  const Lab lab(equal_tensors(40, 300'000));
  const auto requests = everything(*lab.checkpoint);
  auto load = start_mapped(lab);
  std::vector<TensorLease*> held;
  for (int i = 0; i < 11; ++i)
    held.push_back(next(*load));
  held[3]->release();
  std::byte* const written = held[5]->data();
  written[100] = ~written[100];
  auto expected = bytes_of(*held[5]);
  const std::string path = lab.path(0);
  const auto check_held = [&] {
    for (std::size_t i = 0; i < held.size(); ++i) {
      if (i != 3 && i != 5) lab.check(*held[i], requests);
    }
    CHECK(bytes_of(*held[5]) == expected);
    CHECK(held[5]->data() == written);
  };
  SECTION("it is cut off") {
    REQUIRE(::truncate(path.c_str(), 100) == 0);
    check_held();
    CHECK(load->next(in(30s)).error().kind() == ErrorKind::object_changed);
    check_held();
  }
  SECTION("other bytes are written") {
    const UniqueFd fd(::open(path.c_str(), O_WRONLY));
    const std::vector<std::byte> other(40 * 300'000, std::byte{1});
    REQUIRE(::pwrite(fd.get(), other.data(), other.size(), 0) ==
            static_cast<ssize_t>(other.size()));
    check_held();
    CHECK(load->next(in(30s)).error().kind() == ErrorKind::object_changed);
  }
  SECTION("it is opened for writing, and left alone") {
    const UniqueFd fd(::open(path.c_str(), O_RDWR));
    REQUIRE(fd);
    check_held();
    CHECK(drain(*load, lab) == 29);
  }
  SECTION("after the load is gone") {
    load.reset();
    REQUIRE(::truncate(path.c_str(), 0) == 0);
    check_held();
  }
  load.reset();
  for (std::size_t i = 0; i < held.size(); ++i) {
    if (i != 3) held[i]->release();
  }
}

TEST_CASE("once all views are released a file is free", "[mapped]") {
  const Lab lab(equal_tensors(4, kMiB));
  {
    auto load = start_mapped(lab);
    drain(*load, lab);
  }
  // Fails with EWOULDBLOCK while there is a lease.
  const UniqueFd fd(::open(lab.path(0).c_str(), O_WRONLY | O_NONBLOCK));
  CHECK(fd);
}

TEST_CASE("a child of fork() neither ends a lease nor keeps one", "[mapped]") {
  const Lab lab(equal_tensors(4, kMiB));
  const auto requests = everything(*lab.checkpoint);
  auto load = start_mapped(lab);
  TensorLease* held = next(*load);
  const auto can_be_written = [&] {
    return bool(UniqueFd(::open(lab.path(0).c_str(), O_WRONLY | O_NONBLOCK)));
  };
  SECTION("that releases what it inherited") {
    CHECK(in_child([&] {
            held->release();
            load.reset();
            return 0;
          }) == 0);
    CHECK_FALSE(can_be_written());
    lab.check(*held, requests);
    held->release();
    load.reset();
  }
  SECTION("that lives on") {
    WaitingChild child([] { return 0; });
    held->release();
    load.reset();
    CHECK(can_be_written());
    child.go();
    CHECK(child.status() == 0);
  }
}

TEST_CASE("what cannot be mapped is copied, and why is said", "[mapped]") {
  const Lab lab(equal_tensors(8, kMiB));
  LoadSettings settings = defaults();
  SECTION("a file that is open for writing") {
    const UniqueFd writer(::open(lab.path(0).c_str(), O_WRONLY));
    CHECK_THAT(why_not(lab, settings), Catch::Contains("it is open for writing"));
  }
  SECTION("a file that is not cached") {
    make_cold(lab.path(0));
    CHECK_THAT(why_not(lab, settings), Catch::Contains("are not in the page cache"));
  }
  SECTION("a load within a limit") {
    settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::minimum});
    CHECK_THAT(why_not(lab, settings), Catch::Contains("mapped files: none: memory_limit "));
  }
  SECTION("a load of a process that has a limit") {
    ProcessShare::mine().set_limits({.memory_bytes = 64 * kMiB});
    CHECK_THAT(why_not(lab, settings), Catch::Contains("mapped files: none: process_memory_limit"));
    ProcessShare::mine().set_limits({});
  }
  SECTION("tensors that are verified, or whose way is chosen") {
    const int way = GENERATE(0, 1, 2);
    if (way == 0) settings.put(setting::kFileIo, FileIo::buffered);
    if (way == 1) settings.put(setting::kMapCached, false);
    if (way == 2) settings.put(setting::kMaxBandwidth, kGiB);
    const char* const says = way == 0 ? "file_io" : way == 1 ? "debug.map_cached" : "max_bandwidth";
    CHECK_THAT(why_not(lab, settings), Catch::Contains(std::string("mapped files: none: ") + says));
  }
}

TEST_CASE("slices that are dense are views, others are copied", "[mapped]") {
  RawFile file;
  file.bytes = random_bytes(8 * kMiB, 3);
  file.tensors = {{Dtype::f32, {1024, 1024}, 0}, {Dtype::f32, {1024, 1024}, 4 * kMiB}};
  const Lab lab({file});
  std::vector<PlanRequest> requests = {
      {.tensor = 0, .part = Part::slice, .dimension = 0, .start = 10, .stop = 900},
      {.tensor = 1, .part = Part::slice, .dimension = 1, .start = 10, .stop = 900}};
  auto load = Load::start(lab.checkpoint, requests, {}, defaults());
  REQUIRE(load);
  CHECK((*load)->stats().bytes_mapped == 890 * 4096);
  int count = 0;
  while (TensorLease* const lease = next(**load)) {
    lab.check(*lease, requests);
    lease->release();
    ++count;
  }
  CHECK(count == 2);
}

TEST_CASE("writers that come at any time never disturb views in use", "[mapped]") {
  const Lab lab(equal_tensors(50, 100'000));
  const std::string path = lab.path(0);
  const auto requests = everything(*lab.checkpoint);
  std::atomic<bool> is_over{false};
  std::atomic<std::uint32_t> opened{0};
  std::thread writer([&] {
    while (!is_over) {
      // Without a writer in between, files can be mapped.
      const UniqueFd fd(::open(path.c_str(), O_WRONLY));
      ++opened;
    }
  });
  std::mt19937_64 random(11);
  std::uint64_t mapped = 0;
  for (int round = 0; round < 60 || (mapped == 0 && round < 5000); ++round) {
    auto load = start(lab, defaults());
    mapped += load->stats().bytes_mapped;
    take_at_random(std::move(load), lab, requests, random, [](const TensorLease&) {});
  }
  is_over = true;
  writer.join();
  CHECK(opened > 0);
  CHECK(mapped > 0);
}
