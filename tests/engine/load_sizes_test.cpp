// SPDX-License-Identifier: Apache-2.0
#include "engine/load_sizes.hpp"

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
          const auto sizes = size_load(settings, list_of(5000, largest), tensors, from, false);
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

TEST_CASE("a load begins with as many connections as target_gbps takes, and connections wins",
          "[sizes]") {
  TensorTable tensors;
  tensors.add({.name = "t", .dtype = Dtype::u8, .shape = {}, .object = 0, .bytes = {0, 1}});
  const auto first = [&](std::uint32_t target_gbps, std::uint32_t connections) {
    LoadSettings settings;
    settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::unlimited})
        .put(setting::kTargetGbps, target_gbps)
        .put(setting::kConnections, connections);
    return size_load(settings, list_of(3, 1000), tensors, {false, true}, false)->connections.first;
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
  const auto least = size_load(settings, list_of(3, 300'000), tensors, {true, false}, false);
  REQUIRE(least);
  CHECK(least->window_bytes == 300'000);
  CHECK(least->file_readers == 16);
  settings.put(setting::kMemoryLimit, {MemoryLimit::Mode::bytes, kMiB});
  const auto ring = size_load(settings, list_of(3, 300'000), tensors, {true, false}, true);
  REQUIRE(ring);
  CHECK(ring->window_bytes == kMiB);
  CHECK(ring->file_readers == 16);
}
