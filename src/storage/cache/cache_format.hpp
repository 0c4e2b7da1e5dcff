// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a file of the cache looks like; pure. One file holds one version of one object:
//   a page   who it is: JSON, a line break, the CRC of the JSON
//   pages    a sum for each block of 256 KiB; 0: the block is not there
//   blocks   at the same distances as in the object, the last one padded to a page; holes are holes
// A block counts only if its sum is there, and its sum is compared whenever it is read. So nothing
// has to be on disk before anything else, no writer needs a lock, and two may write the same block:
// whatever a killed process, a crashed machine or a full disk leaves is either right or not there.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"

namespace streamer::core::inline storage {

// The first request for an object brings this much; blocks that are smaller cost more calls.
inline constexpr std::uint64_t kCacheBlockBytes = 256 * kKiB;

// One version of one object.
struct CacheKey {
  std::string identity;  // of the URI and where it leads: hexadecimal
  std::string uri;       // for people, without secrets
  std::string etag;
  std::uint64_t size = 0;

  friend bool operator==(const CacheKey& a, const CacheKey& b) {
    return a.identity == b.identity && a.etag == b.etag && a.size == b.size;
  }
};

// origin: the endpoint, because stores of different endpoints have objects of the same URI. query:
// what follows the '?' of an https URL. Parameters that change whenever a URL is signed do not
// count; nothing of the others can be read from the result.
[[nodiscard]] std::string cache_identity(std::string_view origin, std::string_view uri,
                                         std::string_view query);
// Of the version's file, in the folder named by its identity.
[[nodiscard]] std::string cache_file_name(const CacheKey& key);
// Whether two versions of an object never share it.
[[nodiscard]] bool is_strong_etag(std::string_view etag) noexcept;

// The first page of a file; nullopt if it does not fit.
[[nodiscard]] std::optional<std::string> cache_head(const CacheKey& key);
// nullopt if it is not one, as in a file whose writer was killed.
[[nodiscard]] std::optional<CacheKey> read_cache_head(std::string_view page);

struct CacheLayout {
  std::uint64_t size = 0;  // of the object

  [[nodiscard]] std::uint64_t blocks() const noexcept {
    return (size + kCacheBlockBytes - 1) / kCacheBlockBytes;
  }
  [[nodiscard]] static std::uint64_t sum_at(std::uint64_t block) noexcept {
    return kPageBytes + block * sizeof(std::uint64_t);
  }
  [[nodiscard]] std::uint64_t data_at(std::uint64_t offset) const noexcept {
    return round_up(sum_at(blocks()), kPageBytes) + offset;
  }
  [[nodiscard]] std::uint64_t bytes_of(std::uint64_t block) const noexcept {
    return block + 1 < blocks() ? kCacheBlockBytes : size - block * kCacheBlockBytes;
  }
  // The blocks that have bytes of the range, which must not be empty: [first, end).
  [[nodiscard]] static std::uint64_t first_block(ByteRange range) noexcept {
    return range.offset / kCacheBlockBytes;
  }
  [[nodiscard]] static std::uint64_t end_block(ByteRange range) noexcept {
    return (range.end() + kCacheBlockBytes - 1) / kCacheBlockBytes;
  }
};

// Of a block's bytes, without padding. Never 0; of the same bytes in another block it is another.
[[nodiscard]] std::uint64_t cache_block_sum(std::uint64_t block, std::string_view bytes) noexcept;

}  // namespace streamer::core::inline storage
