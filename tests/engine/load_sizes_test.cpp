// SPDX-License-Identifier: Apache-2.0
#include "engine/load_sizes.hpp"

#include <algorithm>

#include "engine/direct_reads.hpp"
#include "support/catch.hpp"

using namespace streamer::core;

namespace {

constexpr std::uint64_t kLeastReaderBytes = 128 * kKiB;

ReadingList list_of(std::uint64_t tensors, std::uint64_t largest_bytes) {
  ReadingList list;
  list.wanted.resize(tensors);
  list.memories[0].largest_bytes = largest_bytes;
  return list;
}

}  // namespace

TEST_CASE("W4 what a load takes for tensors and for reading adds up to its limit", "[sizes]") {
  TensorTable tensors;
  tensors.add({.name = "t", .dtype = Dtype::u8, .shape = {}, .object = 0, .bytes = {0, 1}});
  for (const std::uint64_t limit : {kMiB, 20'000'000UL, 64'000'000UL, 512 * kMiB, 100 * kGiB}) {
    for (const std::uint64_t largest : {std::uint64_t{1}, limit / 2, limit - 10, limit}) {
      for (const std::uint32_t concurrency : {0U, 1U, 16U, 200U}) {
        for (const ReadingFrom from : {ReadingFrom{true, false}, ReadingFrom{false, true},
                                       ReadingFrom{true, true}, ReadingFrom{false, false}}) {
          CAPTURE(limit, largest, concurrency, from.files, from.network);
          LoadSettings settings;
          settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::bytes, limit});
          settings.put(setting::kConcurrency, concurrency);
          settings.put(setting::kChunkBytes, 16 * kMiB);
          const auto sizes =
              size_load(settings, list_of(5000, largest), tensors, from, {}, Machine());
          REQUIRE(sizes);
          CHECK(sizes->limit_bytes == limit);
          CHECK(sizes->window_bytes >= largest);
          const std::uint64_t of_files =
              from.files ? sizes->file_readers * sizes->reader_buffer_bytes : 0;
          const std::uint64_t of_network = from.network ? sizes->network_buffer_bytes : 0;
          // One reader must have something to read with.
          CHECK(sizes->window_bytes + of_files + of_network <=
                limit + (from.files ? kLeastReaderBytes : 0));
          CHECK(sizes->window_bytes + of_files + of_network >= limit / 2);
          CHECK(sizes->file_readers >= 1);
          CHECK(sizes->connections.most >= 1);
          CHECK(sizes->connections.first <= sizes->connections.most);
          CHECK((sizes->connections.most == 1 ||
                 sizes->connections.most * 128 * kKiB <= sizes->network_buffer_bytes));
          if (from.files) CHECK(2 * sizes->chunk_bytes < sizes->reader_buffer_bytes);
        }
      }
    }
  }
}

TEST_CASE("loads that take turns on the same threads have two network readers at least",
          "[sizes]") {
  TensorTable tensors;
  tensors.add({.name = "t", .dtype = Dtype::u8, .shape = {}, .object = 0, .bytes = {0, 1}});
  const auto readers = [&](std::uint32_t cores, bool takes_turns, std::uint32_t concurrency) {
    LoadSettings settings;
    settings.put(setting::kConcurrency, concurrency);
    const ReadingFrom from{.network = true, .takes_turns = takes_turns};
    Machine machine;
    machine.cores = cores;
    return size_load(settings, list_of(3, 1000), tensors, from, {}, machine)->network_readers;
  };
  CHECK(readers(2, false, 0) == 1);
  CHECK(readers(2, true, 0) == 2);
  CHECK(readers(6, true, 0) == readers(6, false, 0));
  CHECK(readers(2, true, 1) == 1);
}

TEST_CASE("a load begins with as many connections as target_gbps takes, and connections wins",
          "[sizes]") {
  TensorTable tensors;
  tensors.add({.name = "t", .dtype = Dtype::u8, .shape = {}, .object = 0, .bytes = {0, 1}});
  const auto first = [&](std::uint32_t target_gbps, std::uint32_t connections) {
    LoadSettings settings;
    settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::unlimited})
        .put(setting::kTargetGbps, target_gbps)
        .put(setting::kConnections, connections);
    return size_load(settings, list_of(3, 1000), tensors, {false, true}, {}, Machine())
        ->connections.first;
  };
  CHECK(first(0, 0) == 8);
  CHECK(first(1, 0) == 8);  // never fewer
  CHECK(first(10, 0) == 25);
  CHECK(first(10, 3) == 3);
}

TEST_CASE("direct_depth is how many direct reads are in flight, as far as buffers allow",
          "[sizes]") {
  const auto depth = [&](std::uint32_t wanted, std::uint64_t buffer_bytes) {
    LoadSettings settings;
    settings.put(setting::kDirectDepth, wanted);
    return most_direct_reads(settings, 2 * kMiB, buffer_bytes);
  };
  CHECK(depth(0, 64 * kMiB) == 32);
  CHECK(depth(5, 64 * kMiB) == 5);
  CHECK(depth(200, 64 * kMiB) == 200);
  CHECK(depth(200, 1 * kMiB) == 16);  // two pages each of an eighth
}

TEST_CASE("W4 a limit for tensors alone is all theirs", "[sizes]") {
  TensorTable tensors;
  tensors.add({.name = "t", .dtype = Dtype::u8, .shape = {}, .object = 0, .bytes = {0, 1}});
  LoadSettings settings;
  settings.put(setting::kConcurrency, 16);
  settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::minimum});
  const auto least =
      size_load(settings, list_of(3, 300'000), tensors, {true, false}, {}, Machine());
  REQUIRE(least);
  CHECK(least->window_bytes == 300'000);
  CHECK(least->file_readers == 16);
  settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::bytes, kMiB});
  const auto ring = size_load(settings, list_of(3, 300'000), tensors, {true, false},
                              {.limits_tensors_alone = true}, Machine());
  REQUIRE(ring);
  CHECK(ring->window_bytes == kMiB);
  CHECK(ring->file_readers == 16);
}

namespace {

struct Row {
  const SettingRow* setting;  // nullptr: all are their defaults
  std::string text;
  Machine machine;
  ReadingFrom from;
  const char* name;  // of the decision
  std::string value;
  const char* reason;  // a part of it
};

const Machine kUsual{
    .free_memory_bytes = 100 * kGiB, .cores = 8, .file_descriptors = 1024, .has_io_uring = true};

Machine with(std::uint32_t cores) {
  Machine machine = kUsual;
  machine.cores = cores;
  return machine;
}

Machine with_descriptors(std::uint64_t count) {
  Machine machine = kUsual;
  machine.file_descriptors = count;
  return machine;
}

Machine with_free(std::uint64_t bytes) {
  Machine machine = kUsual;
  machine.free_memory_bytes = bytes;
  return machine;
}

Machine without_io_uring() {
  Machine machine = kUsual;
  machine.has_io_uring = false;
  return machine;
}

LoadSettings set_one(const SettingRow* setting, const std::string& text) {
  Settings settings;
  if (setting != nullptr) REQUIRE(settings.set(*setting, text));
  const auto read = read_load_settings(settings);
  REQUIRE(read);
  return *read;
}

}  // namespace

TEST_CASE("each decision follows from settings, machine and need, and says why", "[sizes]") {
  constexpr ReadingFrom kFiles{.files = true};
  constexpr ReadingFrom kNetwork{.network = true};
  constexpr ReadingFrom kBlocking{.files = true, .reads_block = true};
  const std::vector<Row> rows = {
      {nullptr, "", kUsual, kFiles, "memory", "80.00 GiB", "80 % of the 100.00 GiB that are free"},
      {nullptr, "", with_free(UINT64_MAX), kFiles, "memory", "no limit", "does not say"},
      {&setting::kMemoryLimit, "unlimited", kUsual, kFiles, "memory", "no limit", "unlimited"},
      {&setting::kMemoryLimit, "1GiB", kUsual, kFiles, "memory", "1.00 GiB", "memory_limit"},
      {&setting::kMemoryLimit, "minimum", kUsual, kFiles, "memory", "1000 B", "the largest item"},
      {nullptr, "", kUsual, kFiles, "window", "128.00 MiB", "ahead of the consumer"},
      {nullptr, "", with_free(320 * kMiB), kFiles, "window", "48.00 MiB", "ahead of the consumer"},
      {&setting::kMemoryLimit, "1GiB", kUsual, kNetwork, "window", "976.00 MiB",
       "not been released"},
      {nullptr, "", kUsual, kFiles, "chunk", "2.00 MiB", "the default"},
      {&setting::kChunkBytes, "4MiB", kUsual, kFiles, "chunk", "4.00 MiB", "debug.chunk_bytes"},
      {&setting::kMaxBandwidth, "10MiB", kUsual, kFiles, "chunk", "512.00 KiB", "max_bandwidth"},
      {&setting::kMemoryLimit, "4MiB", kUsual, kFiles, "chunk", "48.00 KiB",
       "within the memory limit"},
      {nullptr, "", with(1), kFiles, "file readers", "2", "one for each of 1 cores"},
      {nullptr, "", with(8), kFiles, "file readers", "8", "one for each of 8 cores"},
      {nullptr, "", with(64), kFiles, "file readers", "16", "one for each of 64 cores"},
      {nullptr, "", without_io_uring(), kFiles, "file readers", "16", "io_uring is not available"},
      {nullptr, "", kUsual, kBlocking, "file readers", "16", "a store's reads block"},
      {&setting::kConcurrency, "3", kUsual, kFiles, "file readers", "3", "concurrency"},
      {&setting::kMemoryLimit, "1MiB", kUsual, kFiles, "file readers", "2",
       "within the memory limit"},
      {nullptr, "", with(2), kNetwork, "network readers", "1", "one for every two of 2 cores"},
      {nullptr, "", with(64), kNetwork, "network readers", "8", "one for every two of 64 cores"},
      {nullptr, "", kUsual, kNetwork, "connections", "8", "at first, and more"},
      {&setting::kConnections, "40", kUsual, kNetwork, "connections", "40", "debug.connections"},
      {&setting::kConnections, "1000", kUsual, kNetwork, "connections", "256", "no more than 256"},
      {&setting::kConcurrency, "5", kUsual, kNetwork, "connections", "5", "concurrency"},
      {&setting::kConnections, "40", with_descriptors(138), kNetwork, "connections", "5",
       "descriptors"},
      {&setting::kTargetGbps, "40", kUsual, kNetwork, "connections", "100", "target_gbps"},
      {&setting::kMemoryLimit, "8MiB", kUsual, kNetwork, "connections", "8", "receive buffers"},
  };
  TensorTable tensors;
  tensors.add({.name = "t", .dtype = Dtype::u8, .shape = {}, .object = 0, .bytes = {0, 1}});
  for (const Row& row : rows) {
    CAPTURE(row.text, row.name, row.value);
    const auto sizes = size_load(set_one(row.setting, row.text), list_of(3, 1000), tensors,
                                 row.from, {}, row.machine);
    REQUIRE(sizes);
    const auto found =
        std::find_if(sizes->decisions.begin(), sizes->decisions.end(),
                     [&](const Decision& decision) { return decision.name == row.name; });
    REQUIRE(found != sizes->decisions.end());
    CHECK(found->value == row.value);
    CHECK_THAT(found->reason, Catch::Contains(row.reason));
  }
}

TEST_CASE("what is too small is named: a limit that somebody set, or what is free", "[sizes]") {
  TensorTable tensors;
  tensors.add({.name = "t", .dtype = Dtype::u8, .shape = {}, .object = 0, .bytes = {0, 1}});
  const auto refusal = [&](const LoadSettings& settings, const Machine& machine) {
    const auto sizes = size_load(settings, list_of(1, kMiB), tensors, {true, false}, {}, machine);
    REQUIRE_FALSE(sizes);
    CHECK(sizes.error().kind() == ErrorKind::memory_limit);
    return sizes.error().message();
  };
  LoadSettings settings;
  settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::bytes, 1000});
  CHECK_THAT(refusal(settings, Machine()), Catch::Contains("but memory_limit is 1000 bytes"));
  Machine machine;
  machine.free_memory_bytes = 100'000;
  CHECK_THAT(refusal({}, machine), Catch::Contains("only 78.12 KiB may be used: 80 % of the") &&
                                       !Catch::Contains("memory_limit"));
  machine.process_memory_bytes = 1000;
  CHECK_THAT(refusal({}, machine), Catch::Contains("but process_memory_limit is 1000 bytes"));
}
