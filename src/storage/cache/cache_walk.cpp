// SPDX-License-Identifier: Apache-2.0
#include "storage/cache/cache_walk.hpp"

#include <vector>

#include "base/operation.hpp"
#include "storage/cache/cache_entry.hpp"
#include "storage/cache/cache_folder.hpp"
#include "storage/cache/cache_settings.hpp"

namespace streamer::core::inline storage {

namespace {

// Reads every block that is there; the bytes of those that were wrong.
Result<std::uint64_t> verify(CacheEntry& entry) {
  const std::uint64_t before = entry.cached_bytes();
  std::vector<std::byte> bytes(kCacheBlockBytes);
  for (std::uint64_t at = 0; at < entry.key().size; at += kCacheBlockBytes) {
    TRY(still_wanted("verifying what is cached").at(entry.key().uri));
    const ByteRange block{at, entry.bytes_of(at / kCacheBlockBytes)};
    if (entry.has(block)) static_cast<void>(entry.read(block, std::span(bytes).first(block.size)));
  }
  return before - entry.cached_bytes();
}

}  // namespace

Result<void> walk_cache(const Settings& settings, CacheTask task, const std::string& uri,
                        const std::function<void(const CachedVersion&)>& visit) {
  const auto place = TRY(settings.for_uri(uri).get(setting::kCacheWeights));
  if (!place) {
    return Error(ErrorKind::invalid_argument,
                 "cache_weights is off: set it to the folder of the cache");
  }
  const CacheFolder folder = TRY(CacheFolder::open(place->folder));
  const auto files = folder.files();
  std::vector<CachedFile> sizes;
  for (const auto& found : files)
    sizes.push_back(found.file);
  for (const std::size_t i : eviction_order(sizes)) {
    TRY(still_wanted("looking at what is cached").at(place->folder));
    const auto key = folder.key_of(files[i]);
    const bool is_meant =
        uri.empty() ||
        (key && (key->uri == uri || (uri.ends_with('/') && key->uri.starts_with(uri))));
    if (!is_meant) continue;
    CachedVersion version{.key = key.value_or(CacheKey()),
                          .disk_bytes = files[i].file.disk_bytes,
                          .last_used_ns = files[i].file.last_used_ns};
    if (key && task != CacheTask::remove) {
      CacheEntry entry(folder, *key, CacheFolder::Opening::is_no_use);
      if (task == CacheTask::verify) version.bad_bytes = TRY(verify(entry));
      version.cached_bytes = entry.cached_bytes();
    }
    if (task == CacheTask::remove && !folder.remove(files[i], CacheFolder::Remove::in_any_case)) {
      return Error(ErrorKind::io, "the file could not be removed").at(place->folder);
    }
    if (key) visit(version);
  }
  return {};
}

}  // namespace streamer::core::inline storage
