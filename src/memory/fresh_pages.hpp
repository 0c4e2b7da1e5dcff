// SPDX-License-Identifier: Apache-2.0
#pragma once
// The first touch of a range of memory, in huge pages for as long as the system has them at once.
//
// In a virtual machine whose host takes back free memory, it takes back whole free huge pages, and
// a touch then waits for the host: 2.2 CPU-s/GB were measured, where small pages, which come from
// pieces that the host did not take, cost 0.3, and huge pages that are there 0.05.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

namespace streamer::core::inline memory {

class FreshPages {
 public:
  // Makes the pages of [at, at + bytes) resident and keeps what is in them. The thread's CPU time
  // that it took, in ns; nullopt if the system cannot.
  using Populate = std::optional<std::uint64_t> (*)(std::byte* at, std::uint64_t bytes);

  // Of memory that starts on a huge page, wants huge pages, and outlives this. The first
  // `resident_bytes` have their pages.
  FreshPages(std::byte* data, std::uint64_t bytes, std::uint64_t resident_bytes,
             Populate populate = &populate_by_system);

  // Any thread, before it writes to [at, at + bytes), which lies within the memory. True for the
  // one call that found huge pages to be slow: from then on the memory gets small ones.
  bool touch(const std::byte* at, std::uint64_t bytes) noexcept {
    // relaxed, all: a page that is touched twice, or only by the write, is right too.
    if (bytes == 0 || cannot_.load(std::memory_order_relaxed)) return false;
    const auto from = static_cast<std::uint64_t>(at - data_);
    if (is_touched(from) && is_touched(from + bytes - 1)) return false;
    return touch_pages(from, bytes);
  }
  // Any thread. Pages that lie wholly within it have been returned to the system.
  void forget(std::uint64_t offset, std::uint64_t bytes) noexcept;

  // MADV_POPULATE_WRITE: Linux 5.14.
  static std::optional<std::uint64_t> populate_by_system(std::byte* at,
                                                         std::uint64_t bytes) noexcept;

 private:
  [[nodiscard]] bool is_touched(std::uint64_t offset) const noexcept;
  bool touch_pages(std::uint64_t offset, std::uint64_t bytes) noexcept;
  bool has_been_slow(std::uint64_t took_ns) noexcept;

  std::byte* const data_;
  const std::uint64_t bytes_;
  const Populate populate_;
  const std::unique_ptr<std::atomic<std::uint64_t>[]> touched_;  // a bit for each huge page
  std::atomic<bool> cannot_{false};
  std::atomic<bool> in_small_pages_{false};
  // How much longer huge pages have lately taken than small ones would have.
  std::atomic<std::int64_t> lost_ns_{0};
};

}  // namespace streamer::core::inline memory
