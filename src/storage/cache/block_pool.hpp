// SPDX-License-Identifier: Apache-2.0
#pragma once
// Blocks of memory on their way to the cache: no more than a number of bytes, and never waited for.
// Lock-free: who gives them back has the lowest priority, and might sleep with a lock.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "base/slot_stack.hpp"
#include "memory/fresh_pages.hpp"
#include "storage/cache/cache_format.hpp"

namespace streamer::core::inline storage {

class BlockPool : public std::enable_shared_from_this<BlockPool> {
 public:
  explicit BlockPool(std::uint64_t most_bytes);

  struct GiveBack {
    std::shared_ptr<BlockPool> pool;
    std::uint32_t slot = 0;
    void operator()(std::byte*) const noexcept { pool->free_.push(slot); }
  };
  // kCacheBlockBytes, on a page. Its slot is its own until it is given back.
  using Block = std::unique_ptr<std::byte[], GiveBack>;

  // Thread-safe. nullptr if none is left.
  [[nodiscard]] Block take();
  [[nodiscard]] std::uint32_t slots() const noexcept { return slots_; }

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept { std::free(memory); }
  };

  const std::uint32_t slots_;
  // One block after the other, nullptr if there was none. Pages come when a slot is first taken.
  const std::unique_ptr<std::byte[], Free> memory_;
  FreshPages fresh_;
  SlotStack free_;
  std::atomic<std::uint32_t> made_{0};
};

}  // namespace streamer::core::inline storage
