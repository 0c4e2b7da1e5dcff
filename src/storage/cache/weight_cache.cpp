// SPDX-License-Identifier: Apache-2.0
#include "storage/cache/weight_cache.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/fits_in_memory.hpp"
#include "base/fork.hpp"
#include "base/log.hpp"
#include "base/text.hpp"

namespace streamer::core::inline storage {

namespace {

// How long the end of a process may be held up by what is still to be written.
constexpr std::chrono::seconds kMostAtEnd{5};
// Written by one call, at most: a disk does not get faster with more.
constexpr std::size_t kMostAtOnce = 16;
// Of the queue's memory: for blocks of which only a part has come.
constexpr std::uint64_t kPartsShare = 4;
// While the cache is full of what is in use, it is looked at again each time that so much was
// refused.
constexpr std::uint64_t kLookAgainBytes = 256 * kMiB;
// Beyond what is needed now, so that not every block looks for room.
constexpr std::uint64_t kRoomShare = 32;  // of the limit
constexpr int kLeastUrgent = 19;
constexpr std::size_t kFewestEntries = 16;

// The disk's, not the user's.
bool is_of_disk(int os_error) {
  return os_error == ENOSPC || os_error == EDQUOT || os_error == EROFS || os_error == EIO;
}

// Each has up to two descriptors; connections and the program need others.
std::size_t most_entries() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return kFewestEntries;
  return std::max<std::size_t>(limit.rlim_cur / 8, kFewestEntries);
}

// Only this file cannot be had now: it is being removed or begun by another process, or its name is
// too long for its first page.
bool is_of_entry(int os_error) {
  return os_error == EWOULDBLOCK || os_error == ENOENT || os_error == ENAMETOOLONG;
}

}  // namespace

Result<std::unique_ptr<WeightCache>> WeightCache::open(const CachePlace& place,
                                                       std::uint64_t queue_bytes) {
  auto folder = CacheFolder::open(place.folder);
  if (!folder && is_of_disk(folder.error().fields().os_error)) {
    log_line(LogLevel::warning,
             fmt::format("nothing is cached (cache_weights): {}", folder.error().line()));
    return std::unique_ptr<WeightCache>();
  }
  if (!folder) return std::move(folder).error();
  return std::unique_ptr<WeightCache>(
      new WeightCache(*std::move(folder), place.limit_bytes, queue_bytes));
}

WeightCache::WeightCache(CacheFolder folder, std::uint64_t limit_bytes, std::uint64_t queue_bytes)
    : folder_(std::move(folder)),
      limit_bytes_(limit_bytes),
      generation_(fork_generation()),
      pool_(std::make_shared<BlockPool>(queue_bytes)),
      parts_(std::max<std::size_t>(pool_->slots() / kPartsShare, 1)),
      job_of_slot_(pool_->slots()),
      queued_(pool_->slots()) {}

WeightCache::~WeightCache() {
  if (fork_generation() != generation_) {
    // The thread exists only in the parent, and may have held the lock.
    thread_.abandon();
    return;
  }
  // relaxed: notify() publishes it.
  is_over_.store(true, std::memory_order_relaxed);
  has_changed_.notify();
  thread_.join();
  // Here, because that thread is of the least urgent kind. A file that grows beyond the process's
  // limit must fail, not end the process.
  sigset_t file_too_large;
  sigset_t before;
  sigemptyset(&file_too_large);
  sigaddset(&file_too_large, SIGXFSZ);
  pthread_sigmask(SIG_BLOCK, &file_too_large, &before);
  const auto until = std::chrono::steady_clock::now() + kMostAtEnd;
  while (!is_off_.load(std::memory_order_relaxed) && std::chrono::steady_clock::now() < until) {
    auto jobs = next_jobs();
    if (jobs.empty()) break;
    static_cast<void>(fits_in_memory([&] { write_jobs(std::move(jobs)); }));
  }
  // One that is pending would be delivered once it is not blocked any more.
  const timespec at_once{};
  while (sigtimedwait(&file_too_large, nullptr, &at_once) > 0) {
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

std::shared_ptr<CacheEntry> WeightCache::entry(const CacheKey& key) {
  return entries_.with([&](std::vector<std::weak_ptr<CacheEntry>>& entries) {
    std::erase_if(entries, [](const auto& one) { return one.expired(); });
    for (const auto& one : entries) {
      if (auto entry = one.lock(); entry && entry->key() == key) return entry;
    }
    if (entries.size() >= most_entries()) return std::shared_ptr<CacheEntry>();
    auto made = std::make_shared<CacheEntry>(folder_, key);
    entries.push_back(made);
    return made;
  });
}

BlockPool::Block WeightCache::take_block() {
  // After fork() there is no thread that writes.
  if (is_off_.load(std::memory_order_relaxed) || fork_generation() != generation_) return {};
  if (is_full_.load(std::memory_order_relaxed) &&
      refused_bytes_.fetch_add(kCacheBlockBytes, std::memory_order_relaxed) < kLookAgainBytes)
    return {};
  return pool_->take();
}

bool WeightCache::write(const std::shared_ptr<CacheEntry>& entry, std::uint64_t block,
                        ByteRange within, BlockPool::Block bytes) {
  if (is_off_.load(std::memory_order_relaxed)) return false;
  const std::uint64_t size = entry->bytes_of(block);
  if (within.size != size) {
    bytes = parts_.add(entry, block, within, std::move(bytes));
    if (!bytes) return true;
  }
  std::memset(bytes.get() + size, 0, round_up(size, kPageBytes) - size);
  if (!start_thread()) return false;
  const std::uint32_t slot = bytes.get_deleter().slot;
  job_of_slot_[slot] = {entry, block, std::move(bytes)};
  queued_.push(slot);
  has_changed_.notify();
  return true;
}

// False if there is none, and none can be had.
bool WeightCache::start_thread() {
  // relaxed: nothing of the thread is used.
  if (has_thread_.load(std::memory_order_relaxed)) return true;
  const std::lock_guard lock(starting_);
  if (has_thread_.load(std::memory_order_relaxed)) return true;
  auto thread = Thread::start("streamer-cache", [this] { work(); });
  if (!thread) return false;
  thread_ = *std::move(thread);
  has_thread_.store(true, std::memory_order_relaxed);
  return true;
}

void WeightCache::write(const std::shared_ptr<CacheEntry>& entry, std::uint64_t offset,
                        std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::uint64_t block = offset / kCacheBlockBytes;
    const std::uint64_t at = offset % kCacheBlockBytes;
    const std::uint64_t size = std::min<std::uint64_t>(bytes.size(), kCacheBlockBytes - at);
    if (auto memory = take_block()) {
      std::memcpy(memory.get() + at, bytes.data(), size);
      write(entry, block, {at, size}, std::move(memory));
    }
    offset += size;
    bytes = bytes.subspan(size);
  }
}

// ---- The thread ----

void WeightCache::work() {
  // Only what nobody else needs of the processors: under load, blocks are dropped instead.
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kLeastUrgent);
  while (!is_over_.load(std::memory_order_relaxed)) {
    const bool fits = fits_in_memory([&] {
      if (auto jobs = next_jobs(); !jobs.empty()) return write_jobs(std::move(jobs));
      const std::uint32_t ticket = has_changed_.prepare();
      if (queued_.is_empty() && !is_over_.load(std::memory_order_relaxed)) {
        has_changed_.wait(ticket, std::nullopt);
      } else {
        has_changed_.retract();
      }
    });
    if (!fits) give_up(ENOMEM);
  }
}

// Blocks of one entry, one after the other in its file.
std::vector<WeightCache::Job> WeightCache::next_jobs() {
  jobs_.reserve(pool_->slots());
  const auto waited = static_cast<std::ptrdiff_t>(jobs_.size());
  for (std::uint32_t slot = queued_.take_all(); slot != SlotStack::kNone;
       slot = queued_.below(slot))
    jobs_.push_back(std::exchange(job_of_slot_[slot], Job()));
  // The stack has them in the opposite order.
  std::reverse(jobs_.begin() + waited, jobs_.end());
  std::vector<Job> run;
  if (is_off_.load(std::memory_order_relaxed)) jobs_.clear();
  if (jobs_.empty()) return run;
  const auto lowest = std::min_element(jobs_.begin(), jobs_.end(), [&](const Job& a, const Job& b) {
    // Of the entry that has waited longest.
    if ((a.entry == jobs_.front().entry) != (b.entry == jobs_.front().entry))
      return a.entry == jobs_.front().entry;
    return a.block < b.block;
  });
  const std::shared_ptr<CacheEntry> entry = lowest->entry;
  std::uint64_t next = lowest->block;
  for (auto at = lowest; at != jobs_.end() && run.size() < kMostAtOnce;) {
    run.push_back(std::move(*at));
    jobs_.erase(at);
    ++next;
    at = std::find_if(jobs_.begin(), jobs_.end(),
                      [&](const Job& job) { return job.entry == entry && job.block == next; });
  }
  return run;
}

void WeightCache::write_jobs(std::vector<Job> jobs) {
  const std::uint64_t head = jobs.front().entry->bytes_to_begin();
  const std::size_t blocks = blocks_with_room(jobs.size(), head);
  if (blocks == 0) return;
  jobs.erase(jobs.begin() + static_cast<std::ptrdiff_t>(blocks), jobs.end());
  const std::uint64_t bytes = head + blocks * kCacheBlockBytes;
  int failure = write_run(jobs);
  // The disk is smaller than the cache was allowed to be.
  if (failure == ENOSPC || failure == EDQUOT) {
    make_room(bytes, true);
    if (allowance_ >= bytes) failure = write_run(jobs);
  }
  if (is_of_entry(failure)) return;
  if (failure != 0) return give_up(failure);
  allowance_ -= std::min(allowance_, bytes);
}

int WeightCache::write_run(std::span<const Job> jobs) {
  std::vector<std::byte*> blocks;
  for (const Job& job : jobs)
    blocks.push_back(job.bytes.get());
  return jobs.front().entry->write(folder_, jobs.front().block, blocks);
}

// How many of the blocks fit, which take `head` bytes more.
std::size_t WeightCache::blocks_with_room(std::size_t blocks, std::uint64_t head) {
  const std::uint64_t wanted = head + blocks * kCacheBlockBytes;
  if (allowance_ >= wanted) return blocks;
  make_room(wanted, false);
  const std::uint64_t left = allowance_ - std::min(allowance_, head);
  const std::size_t fitting = std::min<std::size_t>(blocks, left / kCacheBlockBytes);
  refused_bytes_.store(0, std::memory_order_relaxed);
  if (!is_full_.exchange(fitting == 0, std::memory_order_relaxed) && fitting == 0) {
    log_line(LogLevel::info,
             fmt::format("{}: the cache is full of what is in use; the rest is not cached",
                         folder_.path()));
  }
  return fitting;
}

// Removes what was used least recently until so many bytes fit.
void WeightCache::make_room(std::uint64_t bytes, bool is_disk_full) {
  const auto files = folder_.files();
  std::vector<CachedFile> sizes;
  std::uint64_t held = 0;
  for (const auto& found : files) {
    sizes.push_back(found.file);
    held += found.file.disk_bytes;
  }
  std::uint64_t limit = cache_limit(limit_bytes_, held, folder_.disk());
  if (is_disk_full) limit = std::min(limit, held);
  const std::uint64_t spare = limit / kRoomShare;
  if (held + bytes > limit) {
    for (const std::size_t i : eviction_order(sizes)) {
      if (held + bytes + spare <= limit) break;
      if (!folder_.remove(files[i], CacheFolder::Remove::if_unused)) continue;
      held -= sizes[i].disk_bytes;
    }
  }
  // What is needed now may be more than what is allowed at once otherwise.
  const std::uint64_t left = limit - std::min(limit, held);
  allowance_ = std::max(next_allowance(limit, held), std::min(left, bytes));
}

void WeightCache::give_up(int failure) {
  const std::string why = fmt::format("{}: {}; nothing more is cached by what is open now",
                                      folder_.path(), std::generic_category().message(failure));
  trouble_.with([&](std::string& text) { text = why; });
  is_off_.store(true, std::memory_order_relaxed);
  log_line(LogLevel::warning, why);
}

}  // namespace streamer::core::inline storage
