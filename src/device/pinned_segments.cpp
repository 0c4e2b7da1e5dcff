// SPDX-License-Identifier: Apache-2.0
#include "device/pinned_segments.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.hpp"

namespace streamer::core {

namespace {

// In one go a large region would hold a lock of the driver that running kernels need.
constexpr std::uint64_t kPinnedAtOnce = 32 * kMiB;

}  // namespace

Result<std::unique_ptr<PinnedSegments>> PinnedSegments::make(CudaRuntime& runtime,
                                                             std::uint32_t count,
                                                             std::uint64_t segment_bytes) {
  segment_bytes = (segment_bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  Arena memory = TRY(Arena::reserve(count * segment_bytes));
  std::unique_ptr<PinnedSegments> made(
      new PinnedSegments(runtime, std::move(memory), count, segment_bytes));
  made->pin();
  return made;
}

PinnedSegments::PinnedSegments(CudaRuntime& runtime, Arena memory, std::uint32_t count,
                               std::uint64_t segment_bytes)
    : runtime_(runtime),
      memory_(std::move(memory)),
      count_(count),
      segment_bytes_(segment_bytes),
      free_(count) {
  // The first is taken first.
  for (std::uint32_t segment = count; segment-- > 0;)
    free_.push(segment);
}

void PinnedSegments::pin() {
  const std::uint64_t all = count_ * segment_bytes_;
  while (pinned_bytes_ < all) {
    const std::uint64_t bytes = std::min(kPinnedAtOnce, all - pinned_bytes_);
    const auto outcome = runtime_.pin(memory_.data() + pinned_bytes_, bytes);
    if (!outcome) {
      note_ = fmt::format("{} of {} staging bytes are not pinned, which makes copies slower: {}",
                          all - pinned_bytes_, all, outcome.error().message());
      return;
    }
    pinned_bytes_ += bytes;
  }
}

PinnedSegments::~PinnedSegments() {
  for (std::uint64_t at = 0; at < pinned_bytes_; at += kPinnedAtOnce) {
    // Nothing is left to be done if the driver does not want to.
    static_cast<void>(runtime_.unpin(memory_.data() + at).has_value());
  }
}

}  // namespace streamer::core
