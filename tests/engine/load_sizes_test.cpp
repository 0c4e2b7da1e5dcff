// SPDX-License-Identifier: Apache-2.0
#include "engine/load_sizes.hpp"

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
          settings.memory_limit = {MemoryLimit::Mode::bytes, limit};
          settings.concurrency = concurrency;
          settings.chunk_bytes = 16 * kMiB;
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

TEST_CASE("W4 a limit for tensors alone is all theirs", "[sizes]") {
  TensorTable tensors;
  tensors.add({.name = "t", .dtype = Dtype::u8, .shape = {}, .object = 0, .bytes = {0, 1}});
  LoadSettings settings;
  settings.concurrency = 16;
  settings.memory_limit.mode = MemoryLimit::Mode::minimum;
  const auto least = size_load(settings, list_of(3, 300'000), tensors, {true, false}, false);
  REQUIRE(least);
  CHECK(least->window_bytes == 300'000);
  CHECK(least->file_readers == 16);
  settings.memory_limit = {MemoryLimit::Mode::bytes, kMiB};
  const auto ring = size_load(settings, list_of(3, 300'000), tensors, {true, false}, true);
  REQUIRE(ring);
  CHECK(ring->window_bytes == kMiB);
  CHECK(ring->file_readers == 16);
}
