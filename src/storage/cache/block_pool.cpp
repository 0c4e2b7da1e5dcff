// SPDX-License-Identifier: Apache-2.0
#include "storage/cache/block_pool.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

namespace streamer::core::inline storage {

namespace {

// 64 GiB.
constexpr std::uint64_t kMostSlots = 1 << 18;

// In small pages, the first touch of a block costs as much as the copy into it.
std::byte* reserve(std::uint64_t bytes) {
  const std::uint64_t wanted = round_up(bytes, kHugePageBytes);
  void* const memory = std::aligned_alloc(kHugePageBytes, wanted);
  // Advice: where huge pages are switched off there are only more page faults.
  if (memory != nullptr) ::madvise(memory, wanted, MADV_HUGEPAGE);
  return static_cast<std::byte*>(memory);
}

}  // namespace

BlockPool::BlockPool(std::uint64_t most_bytes)
    : slots_(static_cast<std::uint32_t>(
          std::clamp<std::uint64_t>(most_bytes / kCacheBlockBytes, 1, kMostSlots))),
      memory_(reserve(slots_ * kCacheBlockBytes)),
      fresh_(memory_.get(), slots_ * kCacheBlockBytes, 0),
      free_(slots_) {}

BlockPool::Block BlockPool::take() {
  if (!memory_) return {};
  std::optional<std::uint32_t> slot = free_.pop();
  if (!slot) {
    // relaxed, both: a number is given out once.
    if (made_.load(std::memory_order_relaxed) >= slots_) return {};
    slot = made_.fetch_add(1, std::memory_order_relaxed);
    if (*slot >= slots_) return {};
    static_cast<void>(fresh_.touch(memory_.get() + *slot * kCacheBlockBytes, kCacheBlockBytes));
  }
  return Block(memory_.get() + *slot * kCacheBlockBytes, {shared_from_this(), *slot});
}

}  // namespace streamer::core::inline storage
