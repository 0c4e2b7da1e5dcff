// SPDX-License-Identifier: Apache-2.0
#include "gpu/kept_segments.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/fork.hpp"
#include "base/guarded.hpp"

namespace streamer::core::inline gpu {

namespace {

struct Kept {
  int device = 0;
  std::unique_ptr<PinnedSegments> segments;
};

struct All {
  std::vector<Kept> kept;
  std::uint32_t generation = 0;
};

// Never destroyed: at the end of the process the driver may already be gone.
Guarded<All>& all() {
  static auto* const guarded = new Guarded<All>;
  return *guarded;
}

// After fork() the child has the memory, but not the driver's state that pins it: it is not
// touched.
void forget_those_of_the_parent(All& kept) {
  const std::uint32_t generation = fork_generation();
  if (kept.generation == generation) return;
  for (Kept& one : kept.kept)
    static_cast<void>(one.segments.release());
  kept.kept.clear();
  kept.generation = generation;
}

}  // namespace

std::unique_ptr<PinnedSegments> take_kept_segments(GpuRuntime& runtime, int device,
                                                   std::uint32_t count,
                                                   std::uint64_t segment_bytes) {
  return all().with([&](All& kept) -> std::unique_ptr<PinnedSegments> {
    forget_those_of_the_parent(kept);
    const auto found = std::find_if(kept.kept.begin(), kept.kept.end(), [&](const Kept& one) {
      const PinnedSegments& segments = *one.segments;
      return one.device == device && &segments.runtime() == &runtime && segments.count() == count &&
             segments.segment_bytes() == segment_bytes;
    });
    if (found == kept.kept.end()) return nullptr;
    std::unique_ptr<PinnedSegments> taken = std::move(found->segments);
    kept.kept.erase(found);
    return taken;
  });
}

void keep_segments(int device, std::unique_ptr<PinnedSegments> segments) {
  // Destroyed outside the lock: unpinning takes long.
  const std::unique_ptr<PinnedSegments> replaced = all().with([&](All& kept) {
    forget_those_of_the_parent(kept);
    const auto found = std::find_if(kept.kept.begin(), kept.kept.end(), [&](const Kept& one) {
      return one.device == device && &one.segments->runtime() == &segments->runtime();
    });
    if (found != kept.kept.end()) return std::exchange(found->segments, std::move(segments));
    kept.kept.push_back({device, std::move(segments)});
    return std::unique_ptr<PinnedSegments>();
  });
}

void drop_kept_segments() noexcept {
  const std::vector<Kept> dropped = all().with([](All& kept) {
    forget_those_of_the_parent(kept);
    return std::exchange(kept.kept, {});
  });
}

std::uint64_t kept_segments_bytes() noexcept {
  return all().with([](All& kept) {
    forget_those_of_the_parent(kept);
    std::uint64_t bytes = 0;
    for (const Kept& one : kept.kept)
      bytes += one.segments->count() * one.segments->segment_bytes();
    return bytes;
  });
}

}  // namespace streamer::core::inline gpu
