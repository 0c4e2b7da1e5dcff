// SPDX-License-Identifier: Apache-2.0
#include "engine/elastic_window.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/bytes.hpp"

namespace streamer::core::inline engine {

ElasticWindow::ElasticWindow(std::span<const Block> blocks, const Limits& limits,
                             GiveBack give_back, LoadShare* share)
    : blocks_(blocks),
      states_(std::make_unique<BlockState[]>(blocks_.size())),
      limits_(limits),
      give_back_(std::move(give_back)),
      share_(share),
      most_ahead_(limits.first_ahead_bytes) {
  for (std::size_t i = 0; i < blocks_.size(); ++i)
    states_[i].held.store(blocks_[i].items, std::memory_order_relaxed);
  memory_.with([&](Memory& memory) { memory.free.reserve(blocks_.size() + 1); });
}

std::size_t ElasticWindow::block_of(std::uint64_t position) const noexcept {
  const auto behind =
      std::upper_bound(blocks_.begin(), blocks_.end(), position,
                       [](std::uint64_t at, const Block& block) { return at < block.begin; });
  return static_cast<std::size_t>(std::distance(blocks_.begin(), behind)) - 1;
}

bool ElasticWindow::advance(std::uint64_t position_end, bool starves) noexcept {
  // Under the lock: blocks are admitted in order, each by one reader.
  return memory_.with([&](Memory& memory) {
    bool was_shut = false;
    while (memory.next_block < blocks_.size() && !admits(position_end)) {
      const Block& block = blocks_[memory.next_block];
      if (!may_admit(memory, block, starves)) {
        if (was_shut) return false;
        // seq_cst, as for ahead_: either this thread, which looks once more, sees a yield or
        // release, or that one sees the flag and wakes the reader.
        is_shut_.store(true, std::memory_order_seq_cst);
        was_shut = true;
        continue;
      }
      states_[memory.next_block].offset = take(memory, block.bytes());
      ahead_.fetch_add(block.item_bytes, std::memory_order_seq_cst);
      ++memory.next_block;
      const bool is_last = memory.next_block == blocks_.size();
      // release: pairs with admits().
      admitted_end_.store(is_last ? UINT64_MAX : block.end, std::memory_order_release);
    }
    return admits(position_end);
  });
}

bool ElasticWindow::is_full() {
  return memory_.with([&](const Memory& memory) {
    return memory.next_block < blocks_.size() && !has_room(memory, blocks_[memory.next_block]);
  });
}

bool ElasticWindow::has_room(const Memory& memory, const Block& block) const noexcept {
  // With nothing in use a block is admitted in any case: otherwise the load could not go on.
  return limits_.most_bytes == 0 || memory.in_use_bytes == 0 ||
         memory.in_use_bytes + block.bytes() <= limits_.most_bytes;
}

bool ElasticWindow::may_admit(const Memory& memory, const Block& block, bool starves) noexcept {
  if (!has_room(memory, block)) return false;
  const std::uint64_t most = most_ahead_.load(std::memory_order_relaxed);
  const bool is_within = ahead_.load(std::memory_order_seq_cst) < most;
  if (!is_within && !starves) return false;
  const bool is_due = limits_.most_bytes == 0 || memory.in_use_bytes == 0;
  if (share_ != nullptr && !share_->take(block.bytes(), is_due)) return false;
  if (!is_within) most_ahead_.store(2 * most, std::memory_order_relaxed);
  return true;
}

bool ElasticWindow::yielded(std::uint64_t bytes) noexcept {
  ahead_.fetch_sub(bytes, std::memory_order_seq_cst);
  return is_shut_.load(std::memory_order_seq_cst) &&
         is_shut_.exchange(false, std::memory_order_seq_cst);
}

bool ElasticWindow::released(std::uint64_t position) noexcept {
  const std::size_t block = block_of(position);
  // acq_rel: the next block in this memory sees that its previous holders are done with it.
  if (states_[block].held.fetch_sub(1, std::memory_order_acq_rel) != 1) return false;
  memory_.with([&](Memory& memory) {
    give(memory, {states_[block].offset, blocks_[block].bytes()});
  });
  return is_shut_.load(std::memory_order_seq_cst) &&
         is_shut_.exchange(false, std::memory_order_seq_cst);
}

// The lowest used range that fits, or else untouched memory.
std::uint64_t ElasticWindow::take(Memory& memory, std::uint64_t bytes) noexcept {
  const auto found = std::find_if(memory.free.begin(), memory.free.end(),
                                  [&](const Range& range) { return range.bytes >= bytes; });
  memory.in_use_bytes += bytes;
  if (found == memory.free.end()) {
    const bool is_too_much =
        limits_.most_bytes != 0 && memory.in_use_bytes + memory.free_bytes > limits_.most_bytes;
    // Free ranges that are too small for the block are resident too: their pages make room for it.
    // The ranges stay in the list, as addresses.
    if (is_too_much) {
      for (const Range& range : memory.free)
        give_back_(range.offset, range.bytes);
    }
    // Never beyond the arena: each block comes here at most once, and the arena is as long as the
    // line.
    return touched_.fetch_add(bytes, std::memory_order_relaxed);
  }
  const std::uint64_t offset = found->offset;
  memory.free_bytes -= bytes;
  found->offset += bytes;
  found->bytes -= bytes;
  if (found->bytes == 0) memory.free.erase(found);
  return offset;
}

void ElasticWindow::give(Memory& memory, Range range) noexcept {
  if (share_ != nullptr) share_->give(range.bytes);
  memory.in_use_bytes -= range.bytes;
  memory.free_bytes += range.bytes;
  // Only so much stays resident; the range can be used again all the same.
  if (memory.free_bytes > limits_.most_kept_bytes) give_back_(range.offset, range.bytes);
  const auto next = std::find_if(memory.free.begin(), memory.free.end(),
                                 [&](const Range& one) { return one.offset > range.offset; });
  const bool joins_next = next != memory.free.end() && range.offset + range.bytes == next->offset;
  const bool joins_last = next != memory.free.begin() &&
                          std::prev(next)->offset + std::prev(next)->bytes == range.offset;
  if (joins_last) {
    std::prev(next)->bytes += range.bytes;
    if (!joins_next) return;
    std::prev(next)->bytes += next->bytes;
    memory.free.erase(next);
  } else if (joins_next) {
    next->offset = range.offset;
    next->bytes += range.bytes;
  } else {
    memory.free.insert(next, range);  // has room: there are no more ranges than blocks
  }
}

}  // namespace streamer::core::inline engine
