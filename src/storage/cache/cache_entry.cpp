// SPDX-License-Identifier: Apache-2.0
#include "storage/cache/cache_entry.hpp"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace streamer::core::inline storage {

namespace {

std::string_view as_chars(const std::byte* bytes, std::uint64_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

// As many bytes as there are, or nullopt.
std::optional<std::uint64_t> read_at(int fd, std::byte* to, std::uint64_t size, std::uint64_t at) {
  std::uint64_t done = 0;
  while (done < size) {
    const ssize_t got = ::pread(fd, to + done, size - done, static_cast<off_t>(at + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::nullopt;
    if (got == 0) break;
    done += static_cast<std::uint64_t>(got);
    if (done % kPageBytes != 0) break;  // the file's end, which direct reads must not go on from
  }
  return done;
}

int write_at(int fd, std::vector<iovec> pieces, std::uint64_t at) {
  std::span<iovec> left = pieces;
  while (!left.empty()) {
    const ssize_t wrote =
        ::pwritev(fd, left.data(), static_cast<int>(left.size()), static_cast<off_t>(at));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return errno;
    if (wrote == 0) return EIO;
    at += static_cast<std::uint64_t>(wrote);
    auto rest = static_cast<std::size_t>(wrote);
    while (!left.empty() && rest >= left.front().iov_len) {
      rest -= left.front().iov_len;
      left = left.subspan(1);
    }
    if (rest == 0) continue;
    left.front().iov_base = static_cast<std::byte*>(left.front().iov_base) + rest;
    left.front().iov_len -= rest;
  }
  return 0;
}

}  // namespace

CacheEntry::CacheEntry(const CacheFolder& folder, CacheKey key, CacheFolder::Opening opening)
    : key_(std::move(key)),
      layout_{key_.size},
      sums_(std::make_unique<std::atomic<std::uint64_t>[]>(layout_.blocks())) {
  auto file = folder.open_file(key_, CacheFolder::IfMissing::leave, opening);
  if (!file) return;
  file_ = *std::move(file);
  read_sums();
  has_file_.store(true, std::memory_order_release);
}

// relaxed for sums everywhere: what they stand for is compared with them when it is read.
void CacheEntry::read_sums() {
  std::vector<std::uint64_t> sums(layout_.blocks());
  static_cast<void>(read_at(file_.fd.get(), reinterpret_cast<std::byte*>(sums.data()),
                            sums.size() * sizeof(std::uint64_t), CacheLayout::sum_at(0)));
  for (std::size_t block = 0; block < sums.size(); ++block)
    sums_[block].store(sums[block], std::memory_order_relaxed);
}

bool CacheEntry::has(ByteRange range) const noexcept {
  if (range.empty() || range.end() > key_.size) return false;
  for (std::uint64_t block = CacheLayout::first_block(range); block < CacheLayout::end_block(range);
       ++block) {
    if (sums_[block].load(std::memory_order_relaxed) == 0) return false;
  }
  // acquire: pairs with the release of who opened the file.
  return has_file_.load(std::memory_order_acquire);
}

bool CacheEntry::is_empty() const noexcept {
  return cached_bytes() == 0;
}

std::uint64_t CacheEntry::cached_bytes() const noexcept {
  std::uint64_t bytes = 0;
  for (std::uint64_t block = 0; block < layout_.blocks(); ++block) {
    if (sums_[block].load(std::memory_order_relaxed) != 0) bytes += layout_.bytes_of(block);
  }
  return bytes;
}

CacheEntry::Read CacheEntry::read(ByteRange range, std::span<std::byte> to,
                                  std::span<std::byte> room) {
  Read outcome;
  if (!has(range)) return outcome;
  const std::uint64_t first = CacheLayout::first_block(range);
  const std::uint64_t end = CacheLayout::end_block(range);
  const std::uint64_t begin = first * kCacheBlockBytes;
  const std::uint64_t wanted = std::min(end * kCacheBlockBytes, key_.size) - begin;
  // From the page cache if all of it is there, which costs one call to find out; else past it.
  iovec cached{room.data(), wanted};
  const ssize_t at_once =
      ::preadv2(file_.fd.get(), &cached, 1, static_cast<off_t>(layout_.data_at(begin)), RWF_NOWAIT);
  std::uint64_t got = wanted;
  if (at_once == static_cast<ssize_t>(wanted)) {
    outcome.from = From::page_cache;
  } else {
    std::optional<std::uint64_t> read;
    if (file_.direct) {
      outcome.from = From::past_page_cache;
      read = read_at(file_.direct.get(), room.data(), round_up(wanted, kPageBytes),
                     layout_.data_at(begin));
    }
    if (!read) {
      outcome.from = From::disk;
      read = read_at(file_.fd.get(), room.data(), wanted, layout_.data_at(begin));
    }
    got = read.value_or(0);
  }
  bool is_right = true;
  // Each block while it is in the processor's caches.
  for (std::uint64_t block = first; block < end; ++block) {
    const std::uint64_t at = (block - first) * kCacheBlockBytes;
    const std::uint64_t size = layout_.bytes_of(block);
    const std::uint64_t sum = sums_[block].load(std::memory_order_relaxed);
    if (at + size > got || cache_block_sum(block, as_chars(room.data() + at, size)) != sum) {
      is_right = false;
      if (forget(block)) ++outcome.bad_blocks;
      continue;
    }
    const std::uint64_t from = std::max(range.offset, begin + at);
    const std::uint64_t until = std::min(range.end(), begin + at + size);
    std::memcpy(to.data() + (from - range.offset), room.data() + (from - begin), until - from);
  }
  outcome.is_right = is_right;
  return outcome;
}

CacheEntry::Read CacheEntry::read(ByteRange range, std::span<std::byte> to) {
  struct Free {
    void operator()(std::byte* memory) const noexcept { std::free(memory); }
  };
  const std::uint64_t bytes = room_for(range);
  const std::unique_ptr<std::byte[], Free> room(
      static_cast<std::byte*>(std::aligned_alloc(kPageBytes, bytes)));
  if (!room) return {};
  return read(range, to, {room.get(), bytes});
}

// Also for other processes, so that each bad block is found once. False if another thread did it.
bool CacheEntry::forget(std::uint64_t block) noexcept {
  if (sums_[block].exchange(0, std::memory_order_relaxed) == 0) return false;
  const std::uint64_t none = 0;
  static_cast<void>(!::pwrite(file_.fd.get(), &none, sizeof none,
                              static_cast<off_t>(CacheLayout::sum_at(block))));
  return true;
}

int CacheEntry::write(const CacheFolder& folder, std::uint64_t first,
                      std::span<std::byte* const> blocks) {
  if (!has_file_.load(std::memory_order_relaxed)) {
    auto file = folder.open_file(key_, CacheFolder::IfMissing::make);
    if (!file) return errno;
    file_ = *std::move(file);
    // What other processes have written meanwhile.
    read_sums();
    // release: pairs with the acquire in has().
    has_file_.store(true, std::memory_order_release);
  }
  std::vector<iovec> pieces;
  std::vector<std::uint64_t> sums;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const std::uint64_t size = layout_.bytes_of(first + i);
    sums.push_back(cache_block_sum(first + i, as_chars(blocks[i], size)));
    pieces.push_back({blocks[i], round_up(size, kPageBytes)});
  }
  const std::uint64_t at = layout_.data_at(first * kCacheBlockBytes);
  int failure = EINVAL;
  if (file_.direct && writes_directly_) {
    failure = write_at(file_.direct.get(), pieces, at);
    writes_directly_ = failure != EINVAL;
  }
  if (failure == EINVAL) {
    failure = write_at(file_.fd.get(), pieces, at);
    // To disk soon: the page cache is better used for what is read again.
    ::sync_file_range(file_.fd.get(), static_cast<off64_t>(at),
                      static_cast<off64_t>(blocks.size() * kCacheBlockBytes),
                      SYNC_FILE_RANGE_WRITE);
  }
  if (failure != 0) return failure;
  failure = write_at(file_.fd.get(), {{sums.data(), sums.size() * sizeof(std::uint64_t)}},
                     CacheLayout::sum_at(first));
  if (failure != 0) return failure;
  for (std::size_t i = 0; i < sums.size(); ++i)
    sums_[first + i].store(sums[i], std::memory_order_relaxed);
  return 0;
}

}  // namespace streamer::core::inline storage
