// SPDX-License-Identifier: Apache-2.0
#include "memory/arena.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "base/bytes.hpp"
#include "base/guarded.hpp"
#include "base/text.hpp"

namespace streamer::core {

namespace {

// The size of a transparent huge page on x86-64 and on arm64 with 4 KiB pages.
constexpr std::uint64_t kHugePageBytes = 2 * kMiB;

// Pages that an arena left: a mapping of their own.
struct Left {
  std::byte* data = nullptr;
  std::uint64_t bytes = 0;
};

Guarded<Left>& left() {
  static auto* const guarded = new Guarded<Left>;  // never destroyed: arenas end late
  return *guarded;
}

std::byte* plus(void* address, std::uint64_t bytes) {
  return static_cast<std::byte*>(address) + bytes;
}

}  // namespace

Result<Arena> Arena::reserve(std::uint64_t bytes) {
  Arena arena;
  if (bytes == 0) return arena;
  const std::uint64_t wanted = round_up(bytes, kPageBytes);
  // One huge page more than wanted, so that an aligned start can be cut out of it.
  const std::uint64_t mapped = wanted + kHugePageBytes;
  // No MAP_NORESERVE: a machine that promises no more than it has refuses here, where it is an
  // error, and not at the first touch, where it is the end of the process.
  void* const start =
      ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) {
    return os_failure(fmt::format("reserving {} of host memory for a load", format_bytes(wanted)),
                      errno);
  }
  const auto address = reinterpret_cast<std::uintptr_t>(start);
  const std::uint64_t before = round_up(address, kHugePageBytes) - address;
  const std::uint64_t after = kHugePageBytes - before;
  if (before != 0) ::munmap(start, before);
  if (after != 0) ::munmap(plus(start, before + wanted), after);
  arena.data_ = plus(start, before);
  arena.bytes_ = wanted;
  const Left pages = left().with(
      [&](Left& kept) { return kept.bytes <= wanted ? std::exchange(kept, {}) : Left{}; });
  if (pages.bytes != 0) {
    // They move with their content. If they cannot, they are freed: the arena has none yet.
    void* const moved =
        ::mremap(pages.data, pages.bytes, pages.bytes, MREMAP_MAYMOVE | MREMAP_FIXED, arena.data_);
    if (moved == MAP_FAILED) ::munmap(pages.data, pages.bytes);
  }
  // Advice: where huge pages are switched off the load only takes more page faults.
  ::madvise(arena.data_, wanted, MADV_HUGEPAGE);
  return arena;
}

Result<Arena> Arena::reserve(std::uint64_t bytes, const HostAllocator& allocator) {
  if (allocator.allocate == nullptr) return reserve(bytes);
  Arena arena;
  if (bytes == 0) return arena;
  const std::uint64_t wanted = round_up(bytes, kPageBytes);
  void* const memory = allocator.allocate(wanted, kPageBytes, allocator.user);
  if (memory == nullptr)
    return Error(
        ErrorKind::out_of_memory,
        fmt::format("the allocator of the load's options has no {}", format_bytes(wanted)));
  arena.data_ = static_cast<std::byte*>(memory);
  arena.bytes_ = wanted;
  arena.allocator_ = allocator;
  if (reinterpret_cast<std::uintptr_t>(memory) % kPageBytes == 0) return arena;
  return Error(ErrorKind::invalid_argument,
               fmt::format("the allocator of the load's options returned {}, which is no multiple "
                           "of {}",
                           memory, kPageBytes));
}

Arena::~Arena() {
  if (data_ == nullptr) return;
  if (allocator_.allocate != nullptr) {
    allocator_.release(data_, bytes_, allocator_.user);
    return;
  }
  const std::uint64_t kept = std::min(round_down(left_bytes_, kHugePageBytes), bytes_);
  // The system takes them when it is short of memory; until then they cost no fault.
  const bool is_left = kept != 0 && ::madvise(data_, kept, MADV_FREE) == 0;
  if (!is_left) {
    ::munmap(data_, bytes_);
    return;
  }
  if (kept < bytes_) ::munmap(data_ + kept, bytes_ - kept);
  const Left before = left().with([&](Left& one) { return std::exchange(one, {data_, kept}); });
  if (before.bytes != 0) ::munmap(before.data, before.bytes);
}

std::uint64_t left_arena_bytes() noexcept {
  return left().with([](const Left& one) { return one.bytes; });
}

void drop_left_arena() noexcept {
  const Left dropped = left().with([](Left& one) { return std::exchange(one, {}); });
  if (dropped.bytes != 0) ::munmap(dropped.data, dropped.bytes);
}

void Arena::give_back(std::uint64_t offset, std::uint64_t size) const noexcept {
  if (allocator_.allocate != nullptr) return;
  const std::uint64_t begin = round_up(offset, kHugePageBytes);
  const std::uint64_t end = round_down(offset + size, kHugePageBytes);
  if (begin < end) ::madvise(data_ + begin, end - begin, MADV_DONTNEED);
}

}  // namespace streamer::core
