// SPDX-License-Identifier: Apache-2.0
#include "engine/cached_source.hpp"

#include <fmt/format.h>

#include <utility>

#include "storage/cache/cache_entry.hpp"

namespace streamer::core::inline engine {

Result<std::unique_ptr<Source>> CachedSource::make(SourceParts parts) {
  std::unique_ptr<CachedSource> made(new CachedSource(std::move(parts)));
  TRY(made->open_operation());
  return std::unique_ptr<Source>(std::move(made));
}

Result<void> CachedSource::read(const Chunk& chunk, std::byte* to, PageBuffer& spare,
                                ReaderCounters& mine) {
  const SourceObject& one = objects_[chunk.object];
  const ByteRange range{chunk.offset, chunk.size};
  const auto room = TRY(spare.get(CacheEntry::room_for(range)));
  const CacheEntry::Read read = one.cached->read(range, {to, chunk.size}, room);
  if (read.is_right) {
    add(read.from == CacheEntry::From::page_cache        ? mine.bytes_page_cache
        : read.from == CacheEntry::From::past_page_cache ? mine.bytes_direct
                                                         : mine.bytes_buffered,
        chunk.size);
    add(mine.bytes_from_cache, chunk.size);
    return {};
  }
  add(mine.cache_blocks_bad, read.bad_blocks);
  landing_.notes().warn(
      fmt::format("{}: the cache (cache_weights) does not have what was written to it: that part "
                  "is fetched from the store; if this happens again, look after the disk",
                  one.object->uri.text()));
  // Which also writes it to the cache again.
  TRY(one.store->read(*one.object, range, {to, chunk.size}));
  add(mine.bytes_network, chunk.size);
  return {};
}

}  // namespace streamer::core::inline engine
