// SPDX-License-Identifier: Apache-2.0
#include "engine/elastic_window.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <random>
#include <thread>

#include "memory/arena.hpp"
#include "memory/fresh_pages.hpp"
#include "support/catch.hpp"
#include "support/lab.hpp"
#include "support/safetensors_text.hpp"
#include "support/sanitized.hpp"

using namespace streamer::core;
using namespace streamer::test;

namespace {

// So many blocks of so many pages, with one item each.
std::vector<Block> equal_blocks(std::uint32_t count, std::uint64_t pages) {
  std::vector<Block> blocks;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t begin = i * pages * kPageBytes;
    blocks.push_back({begin, begin + pages * kPageBytes, pages * kPageBytes, 1});
  }
  return blocks;
}

LoadSettings few_readers() {
  LoadSettings settings;
  settings.put(setting::kMapCached, false);  // these loads are about memory of their own
  settings.put(setting::kConcurrency, 2U).put(setting::kChunkBytes, 8192U);
  return settings;
}

// A file with holes for bytes: so many tensors of 64 MiB, all zeros.
std::shared_ptr<const Checkpoint> sparse_checkpoint(const TemporaryFolder& folder,
                                                    std::uint64_t tensors) {
  constexpr std::uint64_t kTensorBytes = 64 * kMiB;
  std::string header = "{";
  for (std::uint64_t t = 0; t < tensors; ++t) {
    header +=
        fmt::format("{}\"t{}\":{{\"dtype\":\"U8\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                    t == 0 ? "" : ",", t, kTensorBytes, t * kTensorBytes, (t + 1) * kTensorBytes);
  }
  const std::string begin = safetensors_file(header + "}");
  const auto path = write_text(folder.path() / "model.safetensors", begin);
  REQUIRE(::truncate(path.c_str(), static_cast<off_t>(begin.size() + tensors * kTensorBytes)) == 0);
  const std::vector<std::string> uris = {path.string()};
  auto checkpoint = open_checkpoint(uris, std::make_shared<Stores>(Settings()));
  REQUIRE(checkpoint);
  return *checkpoint;
}

// Takes eight tensors as a consumer that keeps pace; what the arena came to.
std::uint64_t arena_bytes_after_eight(Load& load) {
  for (int i = 0; i < 8; ++i) {
    auto yielded = load.next(in(std::chrono::seconds(60)));
    if (!yielded || yielded->outcome != Load::Outcome::tensor) return UINT64_MAX;
    yielded->lease->release();
  }
  return load.stats().arena_bytes;
}

std::uint64_t machine_bytes() {
  return static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * kPageBytes;
}

void nothing(std::uint64_t, std::uint64_t) {}

}  // namespace

TEST_CASE("memory that was released is handed out again, the lowest first", "[window]") {
  const auto blocks = equal_blocks(6, 2);
  const std::uint64_t size = blocks[0].bytes();
  ElasticWindow window(
      blocks, {.first_ahead_bytes = 2 * size, .most_bytes = 0, .most_kept_bytes = 8 * size},
      nothing);
  REQUIRE(window.advance(blocks[1].end, false));
  CHECK_FALSE(window.advance(blocks[2].end, false));
  CHECK(window.yielded(size));  // somebody found it shut
  REQUIRE(window.advance(blocks[2].end, false));
  CHECK(window.offset_of(blocks[2].begin) == 2 * size);  // the first is still held
  CHECK_FALSE(window.released(blocks[0].begin));         // and nobody waits now
  CHECK_FALSE(window.yielded(size));
  REQUIRE(window.advance(blocks[3].end, false));
  CHECK(window.offset_of(blocks[3].begin + 5) == 5);
  CHECK(window.touched_bytes() == 3 * size);
}

TEST_CASE("ranges that were released side by side are one", "[window]") {
  std::vector<Block> blocks = equal_blocks(3, 1);
  blocks.push_back({3 * kPageBytes, 6 * kPageBytes, 3 * kPageBytes, 1});
  blocks.push_back({6 * kPageBytes, 7 * kPageBytes, kPageBytes, 1});
  for (const auto& order : {std::vector{0, 1, 2}, std::vector{2, 0, 1}, std::vector{1, 2, 0}}) {
    ElasticWindow window(
        blocks, {.first_ahead_bytes = 1, .most_bytes = 0, .most_kept_bytes = UINT64_MAX}, nothing);
    for (int i = 0; i < 3; ++i) {
      REQUIRE(window.advance(blocks[static_cast<std::size_t>(i)].end, false));
      static_cast<void>(window.yielded(kPageBytes));
    }
    for (const int i : order)
      static_cast<void>(window.released(blocks[static_cast<std::size_t>(i)].begin));
    REQUIRE(window.advance(blocks[3].end, false));
    CHECK(window.offset_of(blocks[3].begin) == 0);
    CHECK(window.touched_bytes() == 3 * kPageBytes);
  }
}

TEST_CASE("a window that starves its consumer opens twice as far, within the limit", "[window]") {
  const auto blocks = equal_blocks(20, 1);
  ElasticWindow window(
      blocks,
      {.first_ahead_bytes = 2 * kPageBytes, .most_bytes = 6 * kPageBytes, .most_kept_bytes = 0},
      nothing);
  REQUIRE(window.advance(blocks[1].end, true));
  CHECK(window.ahead_bytes() == 2 * kPageBytes);
  REQUIRE(window.advance(blocks[2].end, true));
  CHECK(window.ahead_bytes() == 4 * kPageBytes);
  REQUIRE(window.advance(blocks[5].end, true));
  CHECK_FALSE(window.advance(blocks[6].end, true));  // all of the limit
}

TEST_CASE("what is free beyond what is kept goes back", "[window]") {
  const auto blocks = equal_blocks(4, 1);
  std::vector<std::uint64_t> back;
  ElasticWindow window(
      blocks, {.first_ahead_bytes = UINT64_MAX, .most_bytes = 0, .most_kept_bytes = 2 * kPageBytes},
      [&](std::uint64_t offset, std::uint64_t) { back.push_back(offset / kPageBytes); });
  REQUIRE(window.advance(blocks[3].end, false));
  for (const Block& block : blocks)
    static_cast<void>(window.released(block.begin));
  CHECK(back == std::vector<std::uint64_t>{2, 3});
}

// Readers write into blocks, one consumer reads them, and two threads release them.
TEST_CASE("no block's memory is written while another one has it", "[window]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    constexpr std::uint32_t kBlocks = 400;
    std::mt19937_64 random(seed);
    std::vector<Block> blocks;
    std::uint64_t at = 0;
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      const std::uint64_t bytes = 1 + random() % (3 * kPageBytes);
      blocks.push_back({at, at + bytes, bytes, 1});
      at += blocks.back().bytes();
    }
    std::vector<std::uint32_t> memory(at / 4);
    const std::uint64_t most = random() % 2 == 0 ? 0 : 20 * kPageBytes;
    ElasticWindow window(blocks,
                         {.first_ahead_bytes = 1 + random() % (10 * kPageBytes),
                          .most_bytes = most,
                          .most_kept_bytes = random() % (10 * kPageBytes)},
                         [&](std::uint64_t offset, std::uint64_t bytes) {
                           std::memset(memory.data() + offset / 4, 0, bytes);
                         });
    std::mutex mutex;
    std::condition_variable news;
    std::deque<std::uint32_t> landed;
    std::deque<std::uint32_t> held;
    std::uint64_t moves = 0;
    std::uint32_t released = 0;
    std::atomic<std::uint32_t> next{0};
    std::atomic<std::uint32_t> wrong{0};
    const auto first_word = [&](std::uint32_t block) {
      return memory.data() + window.offset_of(blocks[block].begin) / 4;
    };
    const auto moved = [&](bool is_awaited) {
      if (!is_awaited) return;
      const std::lock_guard lock(mutex);
      ++moves;
      news.notify_all();
    };
    const auto reader = [&] {
      for (std::uint32_t block = next++; block < kBlocks; block = next++) {
        for (;;) {
          std::unique_lock lock(mutex);
          const std::uint64_t seen = moves;
          lock.unlock();
          const std::uint64_t end = blocks[block].end;
          if (window.admits(end) || window.advance(end, false)) break;
          lock.lock();
          news.wait(lock, [&] { return moves != seen; });
        }
        std::uint32_t* const words = first_word(block);
        std::fill(words, words + blocks[block].bytes() / 4, block);
        const std::lock_guard lock(mutex);
        landed.push_back(block);
        news.notify_all();
      }
    };
    const auto consumer = [&] {
      for (std::uint32_t taken = 0; taken < kBlocks; ++taken) {
        std::unique_lock lock(mutex);
        news.wait(lock, [&] { return !landed.empty(); });
        const std::uint32_t block = landed.front();
        landed.pop_front();
        lock.unlock();
        moved(window.yielded(blocks[block].item_bytes));
        lock.lock();
        held.push_back(block);
        news.notify_all();
      }
    };
    const auto releaser = [&] {
      for (;;) {
        std::unique_lock lock(mutex);
        news.wait(lock, [&] { return !held.empty() || released == kBlocks; });
        if (held.empty()) return;
        const std::uint32_t block = held.front();
        held.pop_front();
        if (++released == kBlocks) news.notify_all();
        lock.unlock();
        const std::uint32_t* const words = first_word(block);
        const auto count = static_cast<std::ptrdiff_t>(blocks[block].bytes() / 4);
        wrong += std::count(words, words + count, block) == count ? 0U : 1U;
        moved(window.released(blocks[block].begin));
      }
    };
    std::vector<std::thread> threads;
    threads.emplace_back(reader);
    threads.emplace_back(reader);
    threads.emplace_back(consumer);
    threads.emplace_back(releaser);
    threads.emplace_back(releaser);
    for (std::thread& thread : threads)
      thread.join();
    CHECK(wrong == 0);
    if (most != 0) CHECK(window.touched_bytes() <= at);
  }
}

// ---- In loads ----

TEST_CASE("a consumer that releases what it is given sees the same memory at any size", "[load]") {
  // 60 and 240 times the window.
  for (const std::uint32_t tensors : {600U, 2400U}) {
    const Lab lab(equal_tensors(tensors, 10'000));
    LoadOptions options;
    options.block_bytes = 20'000;
    options.ahead_bytes = 100'000;
    auto load = start(lab, few_readers(), options);
    CHECK(drain(*load, lab) == tensors);
    // Grown once or twice while the consumer found nothing; and what it holds.
    CHECK(load->stats().arena_bytes <= 600'000);
  }
}

TEST_CASE("a consumer that keeps everything gets everything, without a limit and within one",
          "[load]") {
  const Lab lab(equal_tensors(300, 10'000));
  const auto requests = everything(*lab.checkpoint);
  for (const Order order : {Order::completion, Order::plan}) {
    LoadOptions options{.order = order};
    options.block_bytes = 20'000;
    options.ahead_bytes = 50'000;
    auto load = start(lab, few_readers(), options);
    std::vector<TensorLease*> held;
    while (TensorLease* const lease = next(*load))
      held.push_back(lease);
    CHECK(held.size() == 300);
    for (TensorLease* const lease : held) {
      lab.check(*lease, requests);
      lease->release();
    }
    CHECK(load->stats().arena_bytes >= 3'000'000);
  }
}

TEST_CASE("a consumer that waits makes the memory of what comes next resident", "[load]") {
  if (!FreshPages::populate_by_system(nullptr, 0))
    return skip("the system cannot populate pages (Linux before 5.14)");
  drop_left_arena();
  const Lab lab(equal_tensors(16, kMiB));
  LoadSettings settings = few_readers();
  settings.put(setting::kMaxBandwidth, 2 * kMiB);
  auto load = start(lab, settings);
  TensorLease* const first = next(*load);
  REQUIRE(first != nullptr);
  // Its block was admitted, and half a second goes by; a caller with a deadline is not kept from
  // it.
  const auto second = load->next(std::nullopt);
  REQUIRE(second);
  // In the same block, far behind what can have been read in a second.
  auto* const behind = reinterpret_cast<std::byte*>(
      round_up(reinterpret_cast<std::uintptr_t>(first->data()) + 5 * kMiB, kPageBytes));
  std::vector<unsigned char> pages(kMiB / kPageBytes);
  REQUIRE(::mincore(behind, kMiB, pages.data()) == 0);
  CHECK(std::ranges::all_of(pages, [](unsigned char page) { return (page & 1U) != 0; }));
  first->release();
  second->lease->release();
}

TEST_CASE("a consumer that keeps every tenth tensor gets the others too", "[load]") {
  const Lab lab(equal_tensors(1000, 10'000));
  const auto requests = everything(*lab.checkpoint);
  LoadOptions options;
  options.block_bytes = 20'000;
  options.ahead_bytes = 50'000;
  auto load = start(lab, few_readers(), options);
  std::vector<TensorLease*> held;
  std::uint32_t count = 0;
  while (TensorLease* const lease = next(*load)) {
    lab.check(*lease, requests);
    if (count++ % 10 == 0) {
      held.push_back(lease);
    } else {
      lease->release();
    }
  }
  CHECK(count == 1000);
  for (TensorLease* const lease : held) {
    lab.check(*lease, requests);
    lease->release();
  }
}

TEST_CASE("a model that is larger than the machine's memory streams by default", "[load]") {
  if (kIsSanitized) return skip("sanitizers have memory of their own");
  const TemporaryFolder folder;
  const auto checkpoint = sparse_checkpoint(folder, machine_bytes() / (64 * kMiB) * 3 / 2);
  auto load = Load::start(checkpoint, everything(*checkpoint), {}, {});
  if (!load) FAIL(load.error().line());
  CHECK(arena_bytes_after_eight(**load) < kGiB);
  CHECK((*load)->notes().find("no address space") == std::string::npos);
}

TEST_CASE(
    "where there are not even addresses for it, it goes through the memory limit, with a note",
    "[load]") {
  if (kIsSanitized) return skip("sanitizers have memory of their own");
  const TemporaryFolder folder;
  const auto checkpoint = sparse_checkpoint(folder, machine_bytes() / (64 * kMiB) * 2);
  const int status = in_child([&] {
    const rlimit limit{machine_bytes() * 3 / 2, machine_bytes() * 3 / 2};
    if (::setrlimit(RLIMIT_AS, &limit) != 0) return 10;
    auto load = Load::start(checkpoint, everything(*checkpoint), {}, {});
    if (!load) return 11;
    if (arena_bytes_after_eight(**load) == UINT64_MAX) return 12;
    return (*load)->notes().find("one window") == std::string::npos ? 13 : 0;
  });
  CHECK(status == 0);
}

TEST_CASE("memory of the program's own allocator has a size that does not change", "[load]") {
  const Lab lab(equal_tensors(100, 10'000));
  std::uint64_t asked = 0;
  LoadOptions options;
  options.host_allocator = {.allocate =
                                [](std::size_t bytes, std::size_t alignment, void* user) {
                                  *static_cast<std::uint64_t*>(user) = bytes;
                                  return std::aligned_alloc(alignment, bytes);
                                },
                            .release = [](void* memory, std::size_t, void*) { std::free(memory); },
                            .user = &asked};
  auto load = start(lab, few_readers(), options);
  CHECK(drain(*load, lab) == 100);
  CHECK(load->stats().arena_bytes == asked);
}
