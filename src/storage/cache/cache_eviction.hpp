// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the cache holds and what has to go; pure.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace streamer::core::inline storage {

struct CachedFile {
  std::uint64_t disk_bytes = 0;  // without holes
  std::int64_t last_used_ns = 0;
};

struct DiskSpace {
  std::uint64_t total_bytes = 0;
  std::uint64_t free_bytes = 0;  // for this user
};

// How much the cache may hold. given: the setting's size; 0: a tenth of the disk stays free.
[[nodiscard]] std::uint64_t cache_limit(std::uint64_t given, std::uint64_t held,
                                        const DiskSpace& disk) noexcept;

// The order in which files go: the one used least recently first.
[[nodiscard]] std::vector<std::size_t> eviction_order(std::span<const CachedFile> files);

// How much a writer may write before it looks at the whole cache again, which others fill too.
[[nodiscard]] std::uint64_t next_allowance(std::uint64_t limit, std::uint64_t held) noexcept;

}  // namespace streamer::core::inline storage
