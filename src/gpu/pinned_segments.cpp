// SPDX-License-Identifier: Apache-2.0
#include "gpu/pinned_segments.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.hpp"
#include "gpu/device_thread.hpp"
#include "memory/numa.hpp"

namespace streamer::core::inline gpu {

namespace {

// Not all at once: a large region would hold a lock of the driver that running kernels need, and
// readers that wait for a first segment would wait for all of them.
constexpr std::uint64_t kPinnedAtOnce = 32 * kMiB;

}  // namespace

Result<std::unique_ptr<PinnedSegments>> PinnedSegments::make(GpuRuntime& runtime, int device,
                                                             std::uint32_t count,
                                                             std::uint64_t segment_bytes) {
  segment_bytes = round_up(segment_bytes, kPageBytes);
  Arena memory = TRY(Arena::reserve(count * segment_bytes));
  return std::unique_ptr<PinnedSegments>(
      new PinnedSegments(runtime, device, std::move(memory), count, segment_bytes));
}

PinnedSegments::PinnedSegments(GpuRuntime& runtime, int device, Arena memory, std::uint32_t count,
                               std::uint64_t segment_bytes)
    : runtime_(runtime),
      device_(device),
      memory_(std::move(memory)),
      count_(count),
      segment_bytes_(segment_bytes),
      pinned_at_once_(static_cast<std::uint32_t>(std::clamp<std::uint64_t>(
          kPinnedAtOnce / std::max<std::uint64_t>(segment_bytes, 1), 1, std::max(count, 1U)))),
      free_(count) {}

void PinnedSegments::prefer_node(int node) noexcept {
  // Advice: without it copies cross between the machine's sockets.
  static_cast<void>(prefer_numa_node(memory_.data(), memory_.bytes(), node));
}

bool PinnedSegments::pin_more() {
  if (is_all_there()) return false;
  const std::uint32_t end = std::min(count_, ready_ + pinned_at_once_);
  std::byte* const from = data(ready_);
  const std::uint64_t bytes = (end - ready_) * segment_bytes_;
  if (note_.empty()) {
    // Existing pages are pinned five times as fast as pages that pinning must allocate.
    static_cast<void>(memory_.touch(from, bytes));
    for (std::uint64_t at = 0; at < bytes; at += kPageBytes)
      from[at] = std::byte{0};
    const auto outcome = runtime_.pin(from, bytes);
    if (outcome) {
      pinned_bytes_ += bytes;
    } else {
      const std::uint64_t all = count_ * segment_bytes_;
      note_ = fmt::format("{} of {} staging bytes are not pinned, which makes copies slower: {}",
                          all - pinned_bytes_, all, outcome.error().message());
    }
  }
  // The first is taken first.
  for (std::uint32_t segment = end; segment-- > ready_;)
    free_.push(segment);
  ready_ = end;
  given_back_.notify();
  return true;
}

void PinnedSegments::open() noexcept {
  // The first is taken first.
  for (std::uint32_t segment = ready_; segment-- > 0;)
    free_.push(segment);
  given_back_.notify();
}

bool PinnedSegments::close() noexcept {
  std::uint32_t free = 0;
  for (std::uint32_t at = free_.take_all(); at != SlotStack::kNone; at = free_.below(at))
    ++free;
  return free == ready_;
}

PinnedSegments::~PinnedSegments() {
  if (pinned_bytes_ != 0) run_on_device(runtime_, device_, [this] { unpin(); });
}

void PinnedSegments::unpin() {
  const std::uint64_t at_once = pinned_at_once_ * segment_bytes_;
  for (std::uint64_t at = 0; at < pinned_bytes_; at += at_once) {
    // If the driver refuses, there is nothing left to do.
    static_cast<void>(runtime_.unpin(memory_.data() + at).has_value());
  }
}

}  // namespace streamer::core::inline gpu
