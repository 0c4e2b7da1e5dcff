// SPDX-License-Identifier: Apache-2.0
#pragma once
// Blocks of which only a part has come: requests begin and end within blocks. Thread-safe.

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "base/guarded.hpp"
#include "storage/cache/block_pool.hpp"
#include "storage/cache/cache_entry.hpp"

namespace streamer::core::inline storage {

class PartialBlocks {
 public:
  // most: as many parts may wait for the rest of their blocks; the one that has waited longest
  // goes first.
  explicit PartialBlocks(std::size_t most) : most_(most) {}

  // Adds right bytes at their place in `bytes`. Returns the block once all of it has come.
  [[nodiscard]] BlockPool::Block add(const std::shared_ptr<CacheEntry>& entry, std::uint64_t block,
                                     ByteRange within, BlockPool::Block bytes);

 private:
  struct Part {
    std::shared_ptr<CacheEntry> entry;
    BlockPool::Block bytes;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;  // [begin, end): in order, apart
    std::uint64_t number = 0;                                     // counts up
  };
  struct State {
    std::map<std::pair<const CacheEntry*, std::uint64_t>, Part> parts;
    std::uint64_t added = 0;
  };

  const std::size_t most_;
  Guarded<State> state_;
};

}  // namespace streamer::core::inline storage
