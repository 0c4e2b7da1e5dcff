// SPDX-License-Identifier: Apache-2.0
#include "memory/fresh_pages.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "memory/arena.hpp"
#include "support/catch.hpp"

using namespace streamer;
using namespace streamer::core;

namespace {

// What a system would do: its calls, and how long each takes.
struct System {
  std::atomic<int> calls{0};
  std::atomic<std::uint64_t> bytes{0};
  std::atomic<std::uint64_t> takes_ns{100'000};
  std::atomic<bool> can{true};
  std::atomic<bool> saw_unaligned{false};  // checked at the end: Catch2's checks are of one thread
};
System* system_now = nullptr;

std::optional<std::uint64_t> populate(std::byte* at, std::uint64_t bytes) {
  if (reinterpret_cast<std::uintptr_t>(at) % kHugePageBytes != 0) system_now->saw_unaligned = true;
  ++system_now->calls;
  system_now->bytes += bytes;
  if (!system_now->can) return std::nullopt;
  return system_now->takes_ns.load();
}

class PretendedSystem : public System {
 public:
  PretendedSystem() { system_now = this; }
  PretendedSystem(const PretendedSystem&) = delete;
  PretendedSystem& operator=(const PretendedSystem&) = delete;
  ~PretendedSystem() {
    CHECK_FALSE(saw_unaligned);
    system_now = nullptr;
  }
};

// Memory whose pages the pretended system makes.
struct Memory {
  explicit Memory(std::uint64_t bytes)
      : arena(*Arena::reserve(bytes)), fresh(arena.data(), arena.bytes(), 0, &populate) {}
  std::byte* page(std::uint64_t number) const { return arena.data() + number * kHugePageBytes; }

  PretendedSystem system;
  const Arena arena;
  FreshPages fresh;
};

// The flags of the mapping that the address is in.
std::string flags_at(const std::byte* address) {
  std::ifstream smaps("/proc/self/smaps");
  std::string line;
  bool is_here = false;
  while (std::getline(smaps, line)) {
    unsigned long long begin = 0;
    unsigned long long end = 0;
    if (std::sscanf(line.c_str(), "%llx-%llx ", &begin, &end) == 2) {
      const auto at = reinterpret_cast<std::uintptr_t>(address);
      is_here = at >= begin && at < end;
    }
    if (is_here && line.starts_with("VmFlags:")) return line + " ";
  }
  return {};
}

}  // namespace

TEST_CASE("each page of fresh memory is populated once", "[fresh_pages]") {
  PretendedSystem system;
  const auto arena = Arena::reserve(64 * kMiB);
  REQUIRE(arena);
  std::byte* const data = arena->data();
  FreshPages fresh(data, 9 * kMiB, 2 * kMiB, &populate);
  CHECK_FALSE(fresh.touch(data, 2 * kMiB));  // has its pages
  CHECK_FALSE(fresh.touch(data + 5 * kMiB, 0));
  CHECK(system.calls == 0);
  CHECK_FALSE(fresh.touch(data + 3 * kMiB, 1));
  CHECK(system.calls == 1);
  CHECK_FALSE(fresh.touch(data + 2 * kMiB, 4 * kMiB));
  CHECK(system.calls == 2);
  CHECK(system.bytes == 4 * kMiB);
  // The last one is less than a huge page.
  CHECK_FALSE(fresh.touch(data + 9 * kMiB - 1, 1));
  CHECK(system.calls == 3);
  CHECK(system.bytes == 5 * kMiB);
  fresh.forget(0, 5 * kMiB);  // the third huge page not wholly
  CHECK_FALSE(fresh.touch(data, 6 * kMiB));
  CHECK(system.calls == 5);
}

TEST_CASE("huge pages that come at once stay, a late one now and then included", "[fresh_pages]") {
  Memory memory(512 * kMiB);
  for (std::uint64_t page = 0; page < 256; ++page) {
    memory.system.takes_ns = page % 8 == 7 ? 3'000'000 : 100'000;
    CHECK_FALSE(memory.fresh.touch(memory.page(page), 1));
  }
  CHECK(flags_at(memory.arena.data()).find(" nh ") == std::string::npos);
}

TEST_CASE("where huge pages come late the rest is in small ones, and that is said once",
          "[fresh_pages]") {
  const std::uint64_t takes_ns = GENERATE(5'000'000U, 2'500'000U, 1'200'000U);
  Memory memory(64 * kMiB);
  memory.system.takes_ns = takes_ns;
  std::uint64_t late = 0;
  while (!memory.fresh.touch(memory.page(late), 1))
    REQUIRE(++late < 16);
  CHECK(late * takes_ns < 10'000'000);  // what finding it out may cost
  CHECK(flags_at(memory.arena.data()).find(" nh ") != std::string::npos);
  CHECK(flags_at(memory.arena.data() + 64 * kMiB - 1).find(" nh ") != std::string::npos);
  for (std::uint64_t page = late; page < 32; ++page)
    CHECK_FALSE(memory.fresh.touch(memory.page(page), kHugePageBytes));
  CHECK(memory.system.calls == 32);
}

TEST_CASE("a system that cannot populate is asked once", "[fresh_pages]") {
  Memory memory(64 * kMiB);
  memory.system.can = false;
  for (std::uint64_t page = 0; page < 32; ++page)
    CHECK_FALSE(memory.fresh.touch(memory.page(page), 1));
  CHECK(memory.system.calls == 1);
}

TEST_CASE("many threads that touch the same memory populate each page once", "[fresh_pages]") {
  Memory memory(256 * kMiB);
  memory.system.takes_ns = 2'000'000;
  std::atomic<int> turned{0};
  std::vector<std::thread> threads;
  for (std::uint64_t i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (std::uint64_t at = i * 64 * kKiB; at < memory.arena.bytes(); at += 256 * kKiB)
        turned += memory.fresh.touch(memory.arena.data() + at, 64 * kKiB) ? 1 : 0;
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  CHECK(turned == 1);
  CHECK(memory.system.calls == 128);
}

TEST_CASE("touching an arena keeps what is in it", "[fresh_pages]") {
  if (!FreshPages::populate_by_system(nullptr, 0))
    return test::skip("the system cannot populate pages (Linux before 5.14)");
  auto arena = Arena::reserve(8 * kMiB);
  REQUIRE(arena);
  std::memset(arena->data() + kMiB, 7, kMiB);
  static_cast<void>(arena->touch(arena->data(), arena->bytes()));
  CHECK(arena->data()[kMiB] == std::byte{7});
  CHECK(arena->data()[2 * kMiB - 1] == std::byte{7});
  std::vector<unsigned char> pages(arena->bytes() / kPageBytes);
  REQUIRE(::mincore(arena->data(), arena->bytes(), pages.data()) == 0);
  CHECK(std::ranges::all_of(pages, [](unsigned char page) { return (page & 1U) != 0; }));
}
