// SPDX-License-Identifier: Apache-2.0
#include "memory/arena.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "base/bytes.hpp"
#include "base/guarded.hpp"
#include "base/text.hpp"

namespace streamer::core::inline memory {

namespace {

// Pages that an arena left: the beginning of its mapping.
struct Left {
  std::byte* data = nullptr;
  std::uint64_t bytes = 0;
  Arena::Promise promise = Arena::Promise::all;
};

Guarded<Left>& left() {
  static auto* const guarded = new Guarded<Left>;  // never destroyed: arenas end late
  return *guarded;
}

std::byte* plus(void* address, std::uint64_t bytes) {
  return static_cast<std::byte*>(address) + bytes;
}

// New addresses, aligned to a huge page, or MAP_FAILED with errno.
std::byte* map(std::uint64_t bytes, Arena::Promise promise) {
  // One huge page more than wanted, so that an aligned start can be cut out of it.
  const int flags =
      MAP_PRIVATE | MAP_ANONYMOUS | (promise == Arena::Promise::none ? MAP_NORESERVE : 0);
  void* const start = ::mmap(nullptr, bytes + kHugePageBytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (start == MAP_FAILED) return static_cast<std::byte*>(MAP_FAILED);
  const auto address = reinterpret_cast<std::uintptr_t>(start);
  const std::uint64_t before = round_up(address, kHugePageBytes) - address;
  const std::uint64_t after = kHugePageBytes - before;
  if (before != 0) ::munmap(start, before);
  if (after != 0) ::munmap(plus(start, before + bytes), after);
  return plus(start, before);
}

// Moves the left pages to `to`, where the mapping grows to that many bytes. False if they stay
// where they are; the mapping at `to` may then be gone.
bool move(const Left& pages, std::byte* to, std::uint64_t bytes) {
  if (::mremap(pages.data, pages.bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED)
    return false;
  // Until they are written they may be freed at any time; and not every kernel knows that a direct
  // read, too, writes them.
  for (std::uint64_t at = 0; at < pages.bytes; at += kPageBytes)
    *static_cast<volatile std::byte*>(to + at) = std::byte{};
  return true;
}

}  // namespace

Result<Arena> Arena::reserve(std::uint64_t bytes, Promise promise) {
  Arena arena;
  if (bytes == 0) return arena;
  const std::uint64_t wanted = round_up(bytes, kPageBytes);
  Left pages = left().with([&](Left& kept) {
    return kept.bytes <= wanted && kept.promise == promise ? std::exchange(kept, {}) : Left{};
  });
  std::byte* data = map(wanted, promise);
  if (pages.bytes != 0 && (data == MAP_FAILED || !move(pages, data, wanted))) {
    // The program may have made several mappings of it, which do not move as one; or there is no
    // room beside it.
    if (data != MAP_FAILED) ::munmap(data, wanted);
    ::munmap(pages.data, pages.bytes);
    pages = {};
    data = map(wanted, promise);
  }
  if (data == MAP_FAILED) {
    return os_failure(fmt::format("reserve {} of host memory for a load (the limits of the "
                                  "process: ulimit -v, ulimit -d)",
                                  format_bytes(wanted)),
                      errno);
  }
  arena.data_ = data;
  arena.bytes_ = wanted;
  arena.promise_ = promise;
  // Advice: where huge pages are switched off the load only takes more page faults.
  ::madvise(arena.data_, wanted, MADV_HUGEPAGE);
  arena.fresh_ = std::make_unique<FreshPages>(arena.data_, wanted, pages.bytes);
  return arena;
}

Result<Arena> Arena::reserve(std::uint64_t bytes, Promise promise, const HostAllocator& allocator) {
  if (allocator.allocate == nullptr) return reserve(bytes, promise);
  Arena arena;
  if (bytes == 0) return arena;
  const std::uint64_t wanted = round_up(bytes, kPageBytes);
  void* const memory = allocator.allocate(wanted, kPageBytes, allocator.user);
  if (memory == nullptr)
    return Error(ErrorKind::out_of_memory,
                 fmt::format("the allocator of the load's options could not provide {}",
                             format_bytes(wanted)));
  arena.data_ = static_cast<std::byte*>(memory);
  arena.bytes_ = wanted;
  arena.allocator_ = allocator;
  if (reinterpret_cast<std::uintptr_t>(memory) % kPageBytes == 0) return arena;
  return Error(
      ErrorKind::invalid_argument,
      fmt::format("the allocator of the load's options returned {}, which is not a multiple of {}",
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
  const Left before = left().with([&](Left& one) {
    return std::exchange(one, {data_, kept, promise_});
  });
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
  if (!fresh_) return;
  const std::uint64_t begin = round_up(offset, kHugePageBytes);
  const std::uint64_t end = round_down(offset + size, kHugePageBytes);
  if (begin >= end) return;
  ::madvise(data_ + begin, end - begin, MADV_DONTNEED);
  fresh_->forget(begin, end - begin);
}

}  // namespace streamer::core::inline memory
