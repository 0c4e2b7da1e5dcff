// SPDX-License-Identifier: Apache-2.0
#include "storage/cache/block_pool.hpp"

#include <algorithm>
#include <cstdlib>

namespace streamer::core::inline storage {

namespace {

// 64 GiB.
constexpr std::uint64_t kMostSlots = 1 << 18;

}  // namespace

BlockPool::BlockPool(std::uint64_t most_bytes)
    : memory_(std::clamp<std::uint64_t>(most_bytes / kCacheBlockBytes, 1, kMostSlots)),
      free_(slots()) {}

BlockPool::~BlockPool() {
  for (std::byte* const block : memory_)
    std::free(block);
}

BlockPool::Block BlockPool::take() {
  std::optional<std::uint32_t> slot = free_.pop();
  if (!slot) {
    // relaxed, both: a number is given out once.
    if (made_.load(std::memory_order_relaxed) >= slots()) return {};
    const std::uint32_t number = made_.fetch_add(1, std::memory_order_relaxed);
    if (number >= slots()) return {};
    memory_[number] = static_cast<std::byte*>(std::aligned_alloc(kPageBytes, kCacheBlockBytes));
    // The slot is then lost: there is no memory.
    if (memory_[number] == nullptr) return {};
    slot = number;
  }
  return Block(memory_[*slot], {shared_from_this(), *slot});
}

}  // namespace streamer::core::inline storage
