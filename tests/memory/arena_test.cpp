// SPDX-License-Identifier: Apache-2.0
#include "memory/arena.hpp"

#include <sys/mman.h>
#include <unistd.h>
#include <array>

#include <cstring>
#include <vector>

#include "base/bytes.hpp"
#include "support/catch.hpp"

using namespace streamer::core;

namespace {

std::size_t resident_pages(const Arena& arena) {
  std::vector<unsigned char> pages(arena.bytes() / kPageBytes);
  REQUIRE(::mincore(arena.data(), arena.bytes(), pages.data()) == 0);
  std::size_t resident = 0;
  for (const unsigned char page : pages)
    resident += page & 1U;
  return resident;
}

}  // namespace

TEST_CASE("an arena starts on a huge page and takes no memory until it is touched", "[arena]") {
  auto arena = Arena::reserve(64 * kMiB + 1);
  REQUIRE(arena);
  CHECK(reinterpret_cast<std::uintptr_t>(arena->data()) % (2 * kMiB) == 0);
  CHECK(arena->bytes() == 64 * kMiB + kPageBytes);
  CHECK(resident_pages(*arena) == 0);
  arena->data()[64 * kMiB] = std::byte{1};
  CHECK(resident_pages(*arena) > 0);
}

TEST_CASE("memory that is given back is no longer resident, and its neighbours keep theirs",
          "[arena]") {
  auto arena = Arena::reserve(8 * kMiB);
  REQUIRE(arena);
  std::memset(arena->data(), 7, arena->bytes());
  arena->give_back(2 * kMiB - 1, 4 * kMiB + 2);
  CHECK(resident_pages(*arena) == 4 * kMiB / kPageBytes);
  CHECK(arena->data()[2 * kMiB - 1] == std::byte{7});
  CHECK(arena->data()[6 * kMiB] == std::byte{7});
}

TEST_CASE("less than a huge page is not given back", "[arena]") {
  auto arena = Arena::reserve(4 * kMiB);
  REQUIRE(arena);
  std::memset(arena->data(), 7, arena->bytes());
  arena->give_back(kMiB, 2 * kMiB);
  CHECK(resident_pages(*arena) == 4 * kMiB / kPageBytes);
}

TEST_CASE("the next arena begins with the pages that one left, and only the next", "[arena]") {
  drop_left_arena();
  {
    auto arena = Arena::reserve(16 * kMiB);
    REQUIRE(arena);
    std::memset(arena->data(), 7, 10 * kMiB);
    arena->leave_to_next(8 * kMiB + 5);
  }
  CHECK(left_arena_bytes() == 8 * kMiB);
  CHECK(resident_pages(*Arena::reserve(4 * kMiB)) == 0);  // too small for them
  {
    auto next = Arena::reserve(32 * kMiB);
    REQUIRE(next);
    CHECK(left_arena_bytes() == 0);
    CHECK(resident_pages(*next) == 8 * kMiB / kPageBytes);
    std::memset(next->data(), 9, next->bytes());
    CHECK(resident_pages(*Arena::reserve(32 * kMiB)) == 0);
    next->leave_to_next(kMiB);  // less than a huge page
  }
  CHECK(left_arena_bytes() == 0);
  {
    auto last = Arena::reserve(4 * kMiB);
    REQUIRE(last);
    std::memset(last->data(), 9, last->bytes());
    last->leave_to_next(64 * kMiB);  // more than it has
  }
  CHECK(left_arena_bytes() == 4 * kMiB);
  drop_left_arena();
  CHECK(left_arena_bytes() == 0);
}

TEST_CASE("arenas that grow from one to the next are whole, and keep what was left", "[arena]") {
  drop_left_arena();
  // Each takes what the one before left, touches more, and leaves more.
  for (const std::uint64_t mib : std::array<std::uint64_t, 4>{4, 16, 64, 64}) {
    const std::uint64_t had = left_arena_bytes();
    auto arena = Arena::reserve(mib * kMiB);
    REQUIRE(arena);
    CHECK(resident_pages(*arena) == had / kPageBytes);
    std::memset(arena->data(), 7, arena->bytes());
    arena->leave_to_next(mib * kMiB / 2);
  }
  CHECK(left_arena_bytes() == 32 * kMiB);
  drop_left_arena();
}

TEST_CASE("pages that the system cannot move to the next arena are given up", "[arena]") {
  drop_left_arena();
  {
    auto arena = Arena::reserve(16 * kMiB);
    REQUIRE(arena);
    std::memset(arena->data(), 7, arena->bytes());
    // As programs do with memory that a network card reads: it is two mappings from now on.
    REQUIRE(::madvise(arena->data() + 4 * kMiB, 2 * kMiB, MADV_DONTFORK) == 0);
    arena->leave_to_next(8 * kMiB);
  }
  CHECK(left_arena_bytes() == 8 * kMiB);
  auto next = Arena::reserve(16 * kMiB);
  REQUIRE(next);
  CHECK(left_arena_bytes() == 0);
  std::memset(next->data(), 9, next->bytes());
  CHECK(next->data()[16 * kMiB - 1] == std::byte{9});
}

TEST_CASE("more than the machine has is reserved if whoever asks keeps count", "[arena]") {
  const std::uint64_t all = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * kPageBytes;
  auto arena = Arena::reserve(2 * all, Arena::Promise::none);
  REQUIRE(arena);
  arena->data()[2 * all - 1] = std::byte{1};
}

TEST_CASE("what no machine has is an error that says how much was asked for", "[arena]") {
  const auto arena = Arena::reserve(1ULL << 60);
  REQUIRE_FALSE(arena);
  CHECK(arena.error().kind() == ErrorKind::out_of_memory);
  CHECK_THAT(arena.error().message(), Catch::Contains("TiB"));
}

TEST_CASE("an empty arena is no error", "[arena]") {
  const auto arena = Arena::reserve(0);
  REQUIRE(arena);
  CHECK(arena->bytes() == 0);
}
