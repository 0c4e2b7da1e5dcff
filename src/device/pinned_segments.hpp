// SPDX-License-Identifier: Apache-2.0
#pragma once
// Page-locked host memory in pieces of one size, through which bytes pass on their way to a device.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/event_count.hpp"
#include "base/slot_stack.hpp"
#include "device/arena.hpp"
#include "device/cuda_runtime.hpp"

namespace streamer::core {

class PinnedSegments {
 public:
  // Pins as much as it can; what the system refuses to pin is used all the same, more slowly, and
  // note() says so. Fails only for want of memory.
  static Result<std::unique_ptr<PinnedSegments>> make(CudaRuntime& runtime, std::uint32_t count,
                                                      std::uint64_t segment_bytes);
  ~PinnedSegments();
  PinnedSegments(const PinnedSegments&) = delete;
  PinnedSegments& operator=(const PinnedSegments&) = delete;

  [[nodiscard]] std::uint32_t count() const noexcept { return count_; }
  [[nodiscard]] std::uint64_t segment_bytes() const noexcept { return segment_bytes_; }
  // Aligned to a page.
  [[nodiscard]] std::byte* data(std::uint32_t segment) const noexcept {
    return memory_.data() + segment * segment_bytes_;
  }
  // Empty if all of it is pinned.
  [[nodiscard]] const std::string& note() const noexcept { return note_; }

  // Any thread. A segment that is the caller's until give_back(); nullopt if there is none.
  std::optional<std::uint32_t> try_take() noexcept { return free_.pop(); }
  // Any thread.
  void give_back(std::uint32_t segment) noexcept {
    free_.push(segment);
    given_back_.notify();
  }
  // For those who wait for a segment: prepare(), try_take() once more, wait().
  [[nodiscard]] EventCount& given_back() noexcept { return given_back_; }

 private:
  PinnedSegments(CudaRuntime& runtime, Arena memory, std::uint32_t count,
                 std::uint64_t segment_bytes);
  void pin();

  CudaRuntime& runtime_;
  const Arena memory_;
  const std::uint32_t count_;
  const std::uint64_t segment_bytes_;
  std::uint64_t pinned_bytes_ = 0;  // from the front
  std::string note_;
  SlotStack free_;
  EventCount given_back_;
};

}  // namespace streamer::core
