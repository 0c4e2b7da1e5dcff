// SPDX-License-Identifier: Apache-2.0
#include "memory/fresh_pages.hpp"

#include <sys/mman.h>

#include <algorithm>

#include "base/bytes.hpp"
#include "base/thread.hpp"

// glibc has it since 2.35; some C libraries have not.
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace streamer::core::inline memory {

namespace {

constexpr std::uint64_t kPagesPerWord = 64;

// What a huge page's bytes cost in small pages.
constexpr std::int64_t kSmallPagesNs = 700'000;
// More than one interrupt or one page that must be compacted, and less than one page that the host
// must back.
constexpr std::int64_t kMostLostNs = 3'000'000;

constexpr std::uint64_t page_of(std::uint64_t offset) {
  return offset / kHugePageBytes;
}
constexpr std::uint64_t words_for(std::uint64_t bytes) {
  return page_of(bytes) / kPagesPerWord + 1;
}
constexpr std::uint64_t bit_of(std::uint64_t page) {
  return std::uint64_t{1} << (page % kPagesPerWord);
}

}  // namespace

FreshPages::FreshPages(std::byte* data, std::uint64_t bytes, std::uint64_t resident_bytes,
                       Populate populate)
    : data_(data),
      bytes_(bytes),
      populate_(populate),
      touched_(std::make_unique<std::atomic<std::uint64_t>[]>(words_for(bytes))) {
  for (std::uint64_t page = 0; page < page_of(resident_bytes); ++page)
    touched_[page / kPagesPerWord].fetch_or(bit_of(page), std::memory_order_relaxed);
}

bool FreshPages::is_touched(std::uint64_t offset) const noexcept {
  const std::uint64_t page = page_of(offset);
  return (touched_[page / kPagesPerWord].load(std::memory_order_relaxed) & bit_of(page)) != 0;
}

bool FreshPages::touch_pages(std::uint64_t offset, std::uint64_t bytes) noexcept {
  bool turned = false;
  for (std::uint64_t page = page_of(offset); page <= page_of(offset + bytes - 1); ++page) {
    auto& word = touched_[page / kPagesPerWord];
    if ((word.fetch_or(bit_of(page), std::memory_order_relaxed) & bit_of(page)) != 0) continue;
    const std::uint64_t begin = page * kHugePageBytes;
    const std::uint64_t size = std::min(kHugePageBytes, bytes_ - begin);
    const auto took = populate_(data_ + begin, size);
    if (!took) {
      cannot_.store(true, std::memory_order_relaxed);
      return turned;
    }
    if (size == kHugePageBytes && has_been_slow(*took)) turned = true;
  }
  return turned;
}

bool FreshPages::has_been_slow(std::uint64_t took_ns) noexcept {
  if (in_small_pages_.load(std::memory_order_relaxed)) return false;
  // Not one step: what another thread adds in between may be missed, and is seen at the next page.
  const std::int64_t lost =
      lost_ns_.load(std::memory_order_relaxed) + static_cast<std::int64_t>(took_ns) - kSmallPagesNs;
  lost_ns_.store(std::max<std::int64_t>(lost, 0), std::memory_order_relaxed);
  if (lost <= kMostLostNs || in_small_pages_.exchange(true, std::memory_order_relaxed))
    return false;
  // Pages that are there stay as they are.
  ::madvise(data_, bytes_, MADV_NOHUGEPAGE);
  return true;
}

void FreshPages::forget(std::uint64_t offset, std::uint64_t bytes) noexcept {
  const std::uint64_t end = page_of(offset + bytes);
  for (std::uint64_t page = page_of(round_up(offset, kHugePageBytes)); page < end; ++page)
    touched_[page / kPagesPerWord].fetch_and(~bit_of(page), std::memory_order_relaxed);
}

std::optional<std::uint64_t> FreshPages::populate_by_system(std::byte* at,
                                                            std::uint64_t bytes) noexcept {
  const std::uint64_t before = thread_cpu_ns();
  if (::madvise(at, bytes, MADV_POPULATE_WRITE) != 0) return std::nullopt;
  return thread_cpu_ns() - before;
}

}  // namespace streamer::core::inline memory
