// SPDX-License-Identifier: Apache-2.0
#pragma once
// Pinned memory that a load is done with, kept for the next one: pinning takes a tenth of a second
// per gigabyte, and unpinning as long. One set of segments for each device of the process.

#include <cstdint>
#include <memory>

#include "gpu/pinned_segments.hpp"

namespace streamer::core {

// All thread-safe.

// One that fits exactly, or nullptr.
[[nodiscard]] std::unique_ptr<PinnedSegments> take_kept_segments(GpuRuntime& runtime, int device,
                                                                 std::uint32_t count,
                                                                 std::uint64_t segment_bytes);
// They must be closed. What was kept for the device before is given back to the
// system.
void keep_segments(int device, std::unique_ptr<PinnedSegments> segments);
// Gives all of them back to the system.
void drop_kept_segments() noexcept;
[[nodiscard]] std::uint64_t kept_segments_bytes() noexcept;

}  // namespace streamer::core
