// SPDX-License-Identifier: Apache-2.0
#include "engine/page_cache.hpp"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

namespace streamer::core::inline engine {

namespace {

// cachestat(2); older headers lack it. Its number is the same on every architecture.
constexpr long kCachestat = 451;
struct CachestatRange {
  std::uint64_t offset;
  std::uint64_t size;
};
struct Cachestat {
  std::uint64_t cached;
  std::uint64_t dirty;
  std::uint64_t writeback;
  std::uint64_t evicted;
  std::uint64_t recently_evicted;
};

// Of so many bytes, so many are asked for.
constexpr std::uint64_t kSampleEvery = 16 * kMiB;
constexpr std::uint64_t kSampleBytes = 2 * kMiB;

std::uint64_t pages_of(ByteRange range) {
  return (round_up(range.end(), kPageBytes) - round_down(range.offset, kPageBytes)) / kPageBytes;
}

// nullopt from kernels and sandboxes that do not answer.
std::optional<std::uint64_t> uncached_pages(int fd, ByteRange range) {
  CachestatRange asked{range.offset, range.size};
  Cachestat answer{};
  if (::syscall(kCachestat, fd, &asked, &answer, 0U) != 0) return std::nullopt;
  return pages_of(range) - std::min(pages_of(range), answer.cached);
}

Cached probe_last_page(int fd, ByteRange range) {
  std::array<std::byte, 1> byte;
  iovec to{byte.data(), byte.size()};
  const ssize_t got = ::preadv2(fd, &to, 1, static_cast<off_t>(range.end() - 1), RWF_NOWAIT);
  return got == 1 ? Cached::all : Cached::not_all;
}

std::optional<std::uint64_t> uncached_pages(std::byte* mapping, std::uint64_t pages) {
  std::array<unsigned char, 4096> is_there;
  std::uint64_t uncached = 0;
  for (std::uint64_t page = 0; page < pages; page += is_there.size()) {
    const std::uint64_t count = std::min<std::uint64_t>(pages - page, is_there.size());
    if (::mincore(mapping + page * kPageBytes, count * kPageBytes, is_there.data()) != 0)
      return std::nullopt;
    uncached += static_cast<std::uint64_t>(
        std::count_if(is_there.begin(), is_there.begin() + static_cast<std::ptrdiff_t>(count),
                      [](unsigned char one) { return (one & 1U) == 0; }));
  }
  return uncached;
}

}  // namespace

Cached ask_page_cache(int fd, ByteRange range) {
  const auto uncached = uncached_pages(fd, range);
  if (!uncached) return probe_last_page(fd, range);
  return *uncached == 0 ? Cached::all : Cached::not_all;
}

std::optional<std::uint64_t> uncached_bytes(int fd, ByteRange range, std::byte* mapping) {
  const std::uint64_t begin = round_down(range.offset, kPageBytes);
  std::uint64_t uncached_of_sample = 0;
  std::uint64_t sample = 0;
  for (std::uint64_t at = begin; at < range.end(); at += kSampleEvery) {
    const ByteRange asked{at, std::min(kSampleBytes, range.end() - at)};
    auto uncached = uncached_pages(fd, asked);
    if (!uncached && mapping != nullptr)
      uncached = uncached_pages(mapping + (at - begin), pages_of(asked));
    if (!uncached) return std::nullopt;
    uncached_of_sample += *uncached;
    sample += pages_of(asked);
  }
  return range.size / sample * uncached_of_sample;
}

}  // namespace streamer::core::inline engine
