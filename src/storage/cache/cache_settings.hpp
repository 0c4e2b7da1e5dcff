// SPDX-License-Identifier: Apache-2.0
#pragma once
// Settings of the local cache of remote weights.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/setting.hpp"

namespace streamer::core::inline storage {

// Where the cache is.
struct CachePlace {
  std::string folder;
  std::uint64_t limit_bytes = 0;  // 0: chosen by how much the disk has free
};

enum class CacheCheck { etag, never };

}  // namespace streamer::core::inline storage

namespace streamer::core::setting {

struct CachePlaceType : PlainType {
  using Value = std::optional<CachePlace>;
  [[nodiscard]] std::optional<Value> read(std::string_view text) const;
  [[nodiscard]] std::string values() const;
};

inline constexpr Setting kCacheWeights{
    RowOf<Scope::store>{
        .name = "cache_weights",
        .default_text = "off",
        .meaning = "A folder of a local disk, and after a colon how much it may hold, such as "
                   "/var/cache/weights:200GiB. Loads write the bytes that they get over a network "
                   "there, behind the load, and later loads of any process read them from there, "
                   "checked. What was used least recently goes first. Without a size the cache "
                   "leaves a tenth of the disk free. See cache.md."},
    CachePlaceType()};

inline constexpr Setting kCacheCheck{
    RowOf<Scope::store>{
        .name = "cache_check",
        .default_text = "etag",
        .meaning = "What the store is asked about objects in cache_weights. etag asks once, when a "
                   "checkpoint is opened, whether each object still has its ETag; never asks "
                   "nothing about objects that are there whole, and takes a folder to hold what "
                   "it held when it was last listed."},
    Choice<CacheCheck, 2>({{"etag", CacheCheck::etag}, {"never", CacheCheck::never}})};

inline constexpr Setting kCacheQueueBytes{
    RowOf<Scope::store>{
        .name = "debug.cache_queue_bytes",
        .default_text = "128MiB",
        .meaning = "How much host memory holds bytes that are on their way to cache_weights. What "
                   "comes while it is full is not cached."},
    Bytes("", {.lowest = kMiB})};

}  // namespace streamer::core::setting

namespace streamer::core::inline storage {

inline constexpr const SettingRow* kCacheSettings[] = {
    &setting::kCacheWeights, &setting::kCacheCheck, &setting::kCacheQueueBytes};

}  // namespace streamer::core::inline storage
