// SPDX-License-Identifier: Apache-2.0
#pragma once
// Bytes of one request that pass by on their way to the cache: copied when they come, written once
// they are known to be right.

#include <cstdint>
#include <deque>
#include <memory>
#include <string_view>

#include "storage/cache/weight_cache.hpp"

namespace streamer::core::inline storage {

class CacheRun {
 public:
  // cache outlives this.
  CacheRun(WeightCache& cache, std::shared_ptr<CacheEntry> entry)
      : cache_(cache), entry_(std::move(entry)) {}

  // Bytes of the object from `offset` on, in order; they may be wrong.
  void take(std::uint64_t offset, std::string_view bytes);
  // Bytes from `offset` on will come again.
  void take_back(std::uint64_t offset);

  struct Passed {
    std::uint64_t kept = 0;     // on their way to the disk
    std::uint64_t dropped = 0;  // not cached: there was no memory for them
  };
  // Bytes before `offset` are right, and will not be taken back. is_end: no others will come.
  Passed confirm(std::uint64_t offset, bool is_end);

 private:
  // Of one block.
  struct Piece {
    BlockPool::Block memory;  // empty: dropped
    std::uint64_t block = 0;
    std::uint64_t begin = 0;  // of the object
    std::uint64_t end = 0;
  };

  WeightCache& cache_;
  const std::shared_ptr<CacheEntry> entry_;
  std::deque<Piece> pieces_;  // in order
};

}  // namespace streamer::core::inline storage
