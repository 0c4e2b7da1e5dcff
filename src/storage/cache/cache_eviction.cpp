// SPDX-License-Identifier: Apache-2.0
#include "storage/cache/cache_eviction.hpp"

#include <algorithm>
#include <numeric>

#include "base/bytes.hpp"

namespace streamer::core::inline storage {

namespace {

constexpr std::uint64_t kFreeShare = 10;  // of the disk: a tenth stays free
constexpr std::uint64_t kMostAllowance = kGiB;
constexpr std::uint64_t kAllowanceShare = 16;  // of the limit: so far may two writers overshoot it

}  // namespace

std::uint64_t cache_limit(std::uint64_t given, std::uint64_t held, const DiskSpace& disk) noexcept {
  if (given != 0) return given;
  const std::uint64_t stays_free = disk.total_bytes / kFreeShare;
  if (disk.free_bytes >= stays_free) return held + (disk.free_bytes - stays_free);
  return held - std::min(held, stays_free - disk.free_bytes);
}

std::vector<std::size_t> eviction_order(std::span<const CachedFile> files) {
  std::vector<std::size_t> order(files.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return files[a].last_used_ns < files[b].last_used_ns;
  });
  return order;
}

std::uint64_t next_allowance(std::uint64_t limit, std::uint64_t held) noexcept {
  if (held >= limit) return 0;
  const std::uint64_t share = std::max(limit / kAllowanceShare, kMiB);
  return std::min({limit - held, share, kMostAllowance});
}

}  // namespace streamer::core::inline storage
