// SPDX-License-Identifier: Apache-2.0
#include "storage/cache/cache_run.hpp"

#include <algorithm>
#include <utility>

#include "base/copy_past_caches.hpp"

namespace streamer::core::inline storage {

void CacheRun::take(std::uint64_t offset, std::string_view bytes) {
  while (!bytes.empty()) {
    const std::uint64_t block = offset / kCacheBlockBytes;
    if (pieces_.empty() || pieces_.back().block != block || pieces_.back().end != offset)
      pieces_.push_back({cache_.take_block(), block, offset, offset});
    Piece& piece = pieces_.back();
    const std::uint64_t at = offset % kCacheBlockBytes;
    const std::uint64_t size = std::min<std::uint64_t>(bytes.size(), kCacheBlockBytes - at);
    if (piece.memory) copy_past_caches(piece.memory.get() + at, bytes.data(), size);
    piece.end += size;
    offset += size;
    bytes.remove_prefix(size);
  }
}

void CacheRun::take_back(std::uint64_t offset) {
  while (!pieces_.empty() && pieces_.back().begin >= offset)
    pieces_.pop_back();
  if (!pieces_.empty()) pieces_.back().end = std::min(pieces_.back().end, offset);
}

CacheRun::Passed CacheRun::confirm(std::uint64_t offset, bool is_end) {
  Passed passed;
  while (!pieces_.empty()) {
    Piece& piece = pieces_.front();
    const std::uint64_t block_begin = piece.block * kCacheBlockBytes;
    // One that may still grow waits: a whole block is cheaper than two parts.
    const bool is_final = is_end || piece.end == block_begin + entry_->bytes_of(piece.block);
    if (piece.end > offset || !is_final) break;
    const std::uint64_t size = piece.end - piece.begin;
    const bool is_kept =
        piece.memory && cache_.write(entry_, piece.block, {piece.begin - block_begin, size},
                                     std::move(piece.memory));
    (is_kept ? passed.kept : passed.dropped) += size;
    pieces_.pop_front();
  }
  return passed;
}

}  // namespace streamer::core::inline storage
