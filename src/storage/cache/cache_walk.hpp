// SPDX-License-Identifier: Apache-2.0
#pragma once
// What is in a cache, for people: listed, compared with its checksums, removed.

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.hpp"
#include "base/settings.hpp"
#include "storage/cache/cache_format.hpp"

namespace streamer::core::inline storage {

enum class CacheTask { list, verify, remove };

struct CachedVersion {
  CacheKey key;
  std::uint64_t cached_bytes = 0;  // of the object, that are there
  std::uint64_t bad_bytes = 0;     // verify: were there, and are not what was written; gone now
  std::uint64_t disk_bytes = 0;
  std::int64_t last_used_ns = 0;  // since 1970
};

// Calls visit for each version of an object in the folder of cache_weights, the one used least
// recently first. uri: only of that one, or below it if it ends with a slash; empty: all, and
// files that say nothing valid are removed with them. invalid_argument if cache_weights is off.
Result<void> walk_cache(const Settings& settings, CacheTask task, const std::string& uri,
                        const std::function<void(const CachedVersion&)>& visit);

}  // namespace streamer::core::inline storage
