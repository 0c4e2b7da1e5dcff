// SPDX-License-Identifier: Apache-2.0
#include "gpu/copy_rate.hpp"

#include <atomic>
#include <chrono>

#include "base/bytes.hpp"
#include "base/guarded.hpp"
#include "gpu/device_copier.hpp"

namespace streamer::core::inline gpu {

namespace {

constexpr std::uint64_t kSegmentBytes = 2 * kMiB;
constexpr std::uint32_t kSegments = 32;
constexpr std::chrono::milliseconds kWarmUp(100);
constexpr std::chrono::milliseconds kMeasured(400);

using Clock = std::chrono::steady_clock;

}  // namespace

Result<double> measure_copy_rate(GpuRuntime& runtime, int device) {
  DeviceMemory memory(runtime, device, kSegments * kSegmentBytes, DeviceAllocator::malloc);
  const auto segments = TRY(PinnedSegments::make(runtime, device, kSegments, kSegmentBytes));
  std::atomic<std::uint64_t> copied{0};
  Guarded<std::optional<Error>> failure;
  std::atomic<bool> has_failed{false};
  DeviceCopier::Callbacks callbacks;
  callbacks.copied = [&](std::uint64_t) { copied.fetch_add(1, std::memory_order_relaxed); };
  callbacks.failed = [&](Error error) {
    failure.with([&](std::optional<Error>& first) { first = std::move(error); });
    has_failed.store(true, std::memory_order_release);
    segments->given_back().notify();
  };
  callbacks.noted = [](const std::string&) {};
  const auto copier =
      TRY(DeviceCopier::start(memory, runtime, *segments, {.device = device}, callbacks));

  // From when the first segment is there: before it the device's context is made.
  std::optional<Clock::time_point> first;
  std::optional<Clock::time_point> from;
  std::uint64_t copied_before = 0;
  while (!has_failed.load(std::memory_order_acquire)) {
    const auto now = Clock::now();
    if (first && !from && now - *first >= kWarmUp) {
      from = now;
      copied_before = copied.load(std::memory_order_relaxed);
    }
    if (from && now - *from >= kMeasured) {
      const std::uint64_t bytes =
          (copied.load(std::memory_order_relaxed) - copied_before) * kSegmentBytes;
      return static_cast<double>(bytes) / std::chrono::duration<double>(now - *from).count();
    }
    const std::uint32_t ticket = segments->given_back().prepare();
    const auto segment = segments->try_take();
    if (segment || has_failed.load(std::memory_order_acquire)) {
      segments->given_back().retract();
    } else {
      segments->given_back().wait(ticket, std::nullopt);
    }
    if (!segment) continue;
    if (!first) first = Clock::now();
    std::byte* const to = memory.data() + *segment * kSegmentBytes;
    copier->submit(*segment, {{to, 0, kSegmentBytes}}, 0);
  }
  return failure.with([](const std::optional<Error>& error) { return error->copy(); });
}

}  // namespace streamer::core::inline gpu
