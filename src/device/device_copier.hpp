// SPDX-License-Identifier: Apache-2.0
#pragma once
// Copies filled segments to one device, in the background: a thread that owns the streams, and
// nothing else that waits for the device.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/event_count.hpp"
#include "base/guarded.hpp"
#include "base/slot_stack.hpp"
#include "base/thread.hpp"
#include "device/cuda_runtime.hpp"
#include "device/pinned_segments.hpp"

namespace streamer::core {

// Bytes of a segment that belong at one place of the device.
struct DeviceCopy {
  void* to = nullptr;
  std::uint64_t offset = 0;  // in the segment
  std::uint64_t bytes = 0;
};

class DeviceCopier {
 public:
  // On the copier's thread: all copies of a segment are done, and any stream of the device may read
  // them. Not called for what failed or was dropped by stop().
  using Copied = std::function<void(std::uint64_t token)>;
  // On the copier's thread, once: the first error. Nothing is copied any more.
  using Failed = std::function<void(Error error)>;

  // segments must outlive the copier. Blocks while the device's context is made.
  static Result<std::unique_ptr<DeviceCopier>> make(CudaRuntime& runtime, int device,
                                                    std::uint32_t streams, PinnedSegments& segments,
                                                    Copied copied, Failed failed);
  // stop(), and waits for the thread. What is in flight is waited for: no copy reads a segment or
  // writes to the device any more.
  ~DeviceCopier();

  // Any thread that took the segment. It is given back once its copies are done, failed or dropped.
  void submit(std::uint32_t segment, std::vector<DeviceCopy> copies, std::uint64_t token) noexcept;

  // Any thread. What was not started is dropped.
  void stop() noexcept;

  [[nodiscard]] int device() const noexcept { return device_; }

 private:
  struct Job {
    std::vector<DeviceCopy> copies;
    std::uint64_t token = 0;
    CudaEvent done = nullptr;
  };
  struct InFlight;

  DeviceCopier(CudaRuntime& runtime, int device, PinnedSegments& segments, Copied copied,
               Failed failed);
  Result<void> prepare(std::uint32_t streams);
  void work();
  void start_submitted(InFlight& flight);
  void finish_oldest(InFlight& flight);
  void sleep();
  Result<void> start(std::uint32_t segment, CudaStream stream);
  void fail(Error error);

  CudaRuntime& runtime_;
  const int device_;
  PinnedSegments& segments_;
  const Copied copied_;
  const Failed failed_;

  std::vector<Job> jobs_;  // by segment; a job is its segment's owner's, and passes with it
  std::vector<CudaStream> streams_;
  SlotStack submitted_;
  EventCount submitted_or_stopped_;
  std::atomic<bool> stopped_{false};
  bool has_failed_ = false;  // the copier's thread's own
  Thread thread_;            // last: joined before what it uses is gone
};

}  // namespace streamer::core
