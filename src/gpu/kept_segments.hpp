// SPDX-License-Identifier: Apache-2.0
#pragma once
// Pinned memory of finished loads, kept for the next one: pinning takes a tenth of a second per
// gigabyte, and unpinning as long. One set of segments for each device of the process.

#include <cstdint>
#include <memory>

#include "gpu/pinned_segments.hpp"

namespace streamer::core::inline gpu {

// All thread-safe.

// A set that fits exactly, or nullptr.
[[nodiscard]] std::unique_ptr<PinnedSegments> take_kept_segments(GpuRuntime& runtime, int device,
                                                                 std::uint32_t count,
                                                                 std::uint64_t segment_bytes);
// The segments must be closed. Returns the set kept so far for the device to the system.
void keep_segments(int device, std::unique_ptr<PinnedSegments> segments);
// Returns all sets to the system.
void drop_kept_segments() noexcept;
[[nodiscard]] std::uint64_t kept_segments_bytes() noexcept;

}  // namespace streamer::core::inline gpu
