// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the cache has of one version of an object. Readers are any threads; one thread writes.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "storage/cache/cache_folder.hpp"
#include "storage/cache/cache_format.hpp"

namespace streamer::core::inline storage {

class CacheEntry {
 public:
  // Opens the version's file, if there is one.
  CacheEntry(const CacheFolder& folder, CacheKey key,
             CacheFolder::Opening opening = CacheFolder::Opening::is_use);

  [[nodiscard]] const CacheKey& key() const noexcept { return key_; }
  [[nodiscard]] std::uint64_t bytes_of(std::uint64_t block) const noexcept {
    return layout_.bytes_of(block);
  }

  // ---- Reading: any thread ----

  // Whether every block of the range is there. The blocks are not looked at.
  [[nodiscard]] bool has(ByteRange range) const noexcept;
  [[nodiscard]] bool is_whole() const noexcept { return has({0, key_.size}); }
  [[nodiscard]] bool is_empty() const noexcept;
  [[nodiscard]] std::uint64_t cached_bytes() const noexcept;

  enum class From { page_cache, disk, past_page_cache };
  struct Read {
    bool is_right = false;  // all of the range is in `to`
    From from = From::disk;
    std::uint64_t bad_blocks = 0;  // that were there, and are not what was written; forgotten now
  };
  // Blocks. room: memory on a page, of room_for(range) bytes.
  [[nodiscard]] Read read(ByteRange range, std::span<std::byte> to, std::span<std::byte> room);
  [[nodiscard]] static std::uint64_t room_for(ByteRange range) noexcept {
    return (CacheLayout::end_block(range) - CacheLayout::first_block(range)) * kCacheBlockBytes;
  }
  // The same with memory of its own.
  [[nodiscard]] Read read(ByteRange range, std::span<std::byte> to);

  // ---- Writing: one thread ----

  // What its file takes beside blocks, if it is yet to be made.
  [[nodiscard]] std::uint64_t bytes_to_begin() const noexcept {
    return has_file_.load(std::memory_order_relaxed) ? 0 : layout_.data_at(0);
  }
  // Consecutive blocks from `first` on, on pages, each padded with zeros. Returns errno.
  [[nodiscard]] int write(const CacheFolder& folder, std::uint64_t first,
                          std::span<std::byte* const> blocks);

 private:
  void read_sums();
  bool forget(std::uint64_t block) noexcept;

  const CacheKey key_;
  const CacheLayout layout_;
  const std::unique_ptr<std::atomic<std::uint64_t>[]> sums_;  // by block; 0: not there
  CacheFile file_;
  std::atomic<bool> has_file_{false};
  bool writes_directly_ = true;  // the writer's
};

}  // namespace streamer::core::inline storage
