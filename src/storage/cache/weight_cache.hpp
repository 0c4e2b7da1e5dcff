// SPDX-License-Identifier: Apache-2.0
#pragma once
// The cache of one set of stores: its folder, what is open in it, and the thread that writes. What
// comes faster than the disk takes it is dropped: a load never waits for the cache.

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/event_count.hpp"
#include "base/guarded.hpp"
#include "base/result.hpp"
#include "base/slot_stack.hpp"
#include "base/thread.hpp"
#include "storage/cache/block_pool.hpp"
#include "storage/cache/cache_entry.hpp"
#include "storage/cache/cache_folder.hpp"
#include "storage/cache/cache_settings.hpp"
#include "storage/cache/partial_blocks.hpp"

namespace streamer::core::inline storage {

class WeightCache {
 public:
  // nullptr, with a warning in the log, if the disk does not let it make its folder; fails if the
  // folder is not this user's own.
  static Result<std::unique_ptr<WeightCache>> open(const CachePlace& place,
                                                   std::uint64_t queue_bytes);
  // Writes what is queued, for a few seconds at most. Everything that uses it has ended.
  ~WeightCache();
  WeightCache(const WeightCache&) = delete;
  WeightCache& operator=(const WeightCache&) = delete;

  [[nodiscard]] const CacheFolder& folder() const noexcept { return folder_; }
  // Shared by all that use the version at once; nullptr if too many files are open already.
  [[nodiscard]] std::shared_ptr<CacheEntry> entry(const CacheKey& key);

  // ---- Any thread ----

  // Memory for a block; empty if there is none now, or nothing is written any more.
  [[nodiscard]] BlockPool::Block take_block();
  // Right bytes of a block, at their place in it. False if nothing is written any more.
  bool write(const std::shared_ptr<CacheEntry>& entry, std::uint64_t block, ByteRange within,
             BlockPool::Block bytes);
  // Right bytes of an object from `offset` on; as many blocks of them as there is memory for.
  void write(const std::shared_ptr<CacheEntry>& entry, std::uint64_t offset,
             std::span<const std::byte> bytes);
  // Why nothing is written any more; empty: it is.
  [[nodiscard]] std::string trouble() const {
    return trouble_.with([](auto text) { return text; });
  }

 private:
  struct Job {
    std::shared_ptr<CacheEntry> entry;
    std::uint64_t block = 0;
    BlockPool::Block bytes;
  };

  WeightCache(CacheFolder folder, std::uint64_t limit_bytes, std::uint64_t queue_bytes);
  [[nodiscard]] bool start_thread();
  void work();
  [[nodiscard]] std::vector<Job> next_jobs();
  void write_jobs(std::vector<Job> jobs);
  int write_run(std::span<const Job> jobs);
  [[nodiscard]] std::size_t blocks_with_room(std::size_t blocks, std::uint64_t head);
  void make_room(std::uint64_t bytes, bool is_disk_full);
  void give_up(int failure);

  const CacheFolder folder_;
  const std::uint64_t limit_bytes_;  // 0: automatic
  const std::uint32_t generation_;
  const std::shared_ptr<BlockPool> pool_;
  PartialBlocks parts_;
  Guarded<std::vector<std::weak_ptr<CacheEntry>>> entries_;
  // relaxed, all three: who misses a change copies in vain, or not at all.
  std::atomic<bool> is_off_{false};
  std::atomic<bool> is_full_{false};
  std::atomic<std::uint64_t> refused_bytes_{0};  // since it was found to be full
  Guarded<std::string> trouble_;

  // The writer's, or once it has ended the destructor's.
  std::uint64_t allowance_ = 0;
  std::vector<Job> jobs_;

  // Of blocks that are queued; by slot, each written before it is pushed and by the writer after.
  std::vector<Job> job_of_slot_;
  SlotStack queued_;
  EventCount has_changed_;  // queued_ or is_over_
  std::atomic<bool> is_over_{false};
  std::atomic<bool> has_thread_{false};
  std::mutex starting_;
  Thread thread_;  // under starting_, until has_thread_
};

}  // namespace streamer::core::inline storage
