// SPDX-License-Identifier: Apache-2.0
#pragma once
// Page-locked host memory in pieces of one size, through which bytes pass on their way to a device.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/event_count.hpp"
#include "base/slot_stack.hpp"
#include "gpu/gpu_runtime.hpp"
#include "memory/arena.hpp"

namespace streamer::core::inline gpu {

class PinnedSegments {
 public:
  // Reserves addresses; no segment can be taken before open() and pin_more().
  static Result<std::unique_ptr<PinnedSegments>> make(GpuRuntime& runtime, int device,
                                                      std::uint32_t count,
                                                      std::uint64_t segment_bytes);
  ~PinnedSegments();
  PinnedSegments(const PinnedSegments&) = delete;
  PinnedSegments& operator=(const PinnedSegments&) = delete;

  [[nodiscard]] GpuRuntime& runtime() const noexcept { return runtime_; }
  [[nodiscard]] std::uint32_t count() const noexcept { return count_; }
  [[nodiscard]] std::uint64_t segment_bytes() const noexcept { return segment_bytes_; }
  // Aligned to a page.
  [[nodiscard]] std::byte* data(std::uint32_t segment) const noexcept {
    return memory_.data() + segment * segment_bytes_;
  }

  // The one thread that pins, before the first pin_more(): the NUMA node for its pages.
  void prefer_node(int node) noexcept;
  // The same thread: segments that are pinned already may be taken from now on.
  void open() noexcept;
  // The same thread, with a device's context. Pins some more segments, which may then be taken;
  // memory that the system refuses to pin is used all the same, more slowly, and note() says so.
  // False if none are left.
  bool pin_more();
  [[nodiscard]] bool is_all_there() const noexcept { return ready_ == count_; }
  // Empty unless something could not be pinned. For the thread that pins.
  [[nodiscard]] const std::string& note() const noexcept { return note_; }
  [[nodiscard]] std::uint64_t pinned_bytes() const noexcept { return pinned_bytes_; }

  // Any thread. A segment that the caller owns until give_back(); nullopt if none is free.
  std::optional<std::uint32_t> try_take() noexcept { return free_.pop(); }
  // Any thread.
  void give_back(std::uint32_t segment) noexcept {
    free_.push(segment);
    given_back_.notify();
  }
  // To wait for a segment: prepare(), try_take() once more, wait().
  [[nodiscard]] EventCount& given_back() noexcept { return given_back_; }

  // Undoes open(); no other thread may take or give back segments. False if some segment is still
  // taken; the others are then unusable too.
  [[nodiscard]] bool close() noexcept;

 private:
  PinnedSegments(GpuRuntime& runtime, int device, Arena memory, std::uint32_t count,
                 std::uint64_t segment_bytes);
  void unpin();

  GpuRuntime& runtime_;
  const int device_;  // in whose context they are pinned
  const Arena memory_;
  const std::uint32_t count_;
  const std::uint64_t segment_bytes_;
  const std::uint32_t pinned_at_once_;
  std::uint32_t ready_ = 0;         // from the front, pinned or not
  std::uint64_t pinned_bytes_ = 0;  // from the front
  std::string note_;
  SlotStack free_;
  EventCount given_back_;
};

}  // namespace streamer::core::inline gpu
