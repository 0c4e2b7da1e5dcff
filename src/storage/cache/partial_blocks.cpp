// SPDX-License-Identifier: Apache-2.0
#include "storage/cache/partial_blocks.hpp"

#include <algorithm>
#include <cstring>

namespace streamer::core::inline storage {

namespace {

using Ranges = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

void add_range(Ranges& ranges, ByteRange range) {
  ranges.emplace_back(range.offset, range.end());
  std::sort(ranges.begin(), ranges.end());
  std::size_t last = 0;
  for (std::size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].first <= ranges[last].second) {
      ranges[last].second = std::max(ranges[last].second, ranges[i].second);
    } else {
      ranges[++last] = ranges[i];
    }
  }
  ranges.resize(last + 1);
}

}  // namespace

BlockPool::Block PartialBlocks::add(const std::shared_ptr<CacheEntry>& entry, std::uint64_t block,
                                    ByteRange within, BlockPool::Block bytes) {
  // Files are closed, and memory is given back, without the lock.
  std::vector<Part> dropped;
  return state_.with([&](State& state) -> BlockPool::Block {
    const auto [found, is_new] = state.parts.try_emplace({entry.get(), block});
    Part& part = found->second;
    add_range(part.ranges, within);
    if (!is_new) {
      std::memcpy(part.bytes.get() + within.offset, bytes.get() + within.offset, within.size);
      if (part.ranges.front() != std::pair(std::uint64_t{0}, entry->bytes_of(block))) return {};
      BlockPool::Block whole = std::move(part.bytes);
      dropped.push_back(std::move(part));
      state.parts.erase(found);
      return whole;
    }
    part.entry = entry;
    part.bytes = std::move(bytes);
    part.number = ++state.added;
    if (state.parts.size() <= most_) return {};
    const auto oldest = std::min_element(
        state.parts.begin(), state.parts.end(),
        [](const auto& a, const auto& b) { return a.second.number < b.second.number; });
    dropped.push_back(std::move(oldest->second));
    state.parts.erase(oldest);
    return {};
  });
}

}  // namespace streamer::core::inline storage
