// SPDX-License-Identifier: Apache-2.0
#pragma once
// Copies filled segments to one device in the background: one thread owns the streams, and no other
// thread waits for the device.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/event_count.hpp"
#include "base/slot_stack.hpp"
#include "base/thread.hpp"
#include "gpu/device_memory.hpp"
#include "gpu/gpu_runtime.hpp"
#include "gpu/pinned_segments.hpp"

namespace streamer::core::inline gpu {

// Bytes of a segment for one place on the device.
struct DeviceCopy {
  void* to = nullptr;
  std::uint64_t offset = 0;  // in the segment
  std::uint64_t bytes = 0;
};

class DeviceCopier {
 public:
  struct Options {
    int device = 0;
    std::uint32_t streams = 1;
    // A stream of the caller, of the same device: copies count as done once it waits for them,
    // without a wait on the host. nullptr: they count as done when they have finished.
    GpuStream consumer_stream = nullptr;
    // Copies may overwrite memory that work on the consumer's stream still reads: they wait for all
    // work queued on it. Only with a consumer's stream.
    bool overwrites = false;
  };
  struct Callbacks {
    // All callbacks run on the copier's thread. All copies of a segment are done, and any stream of
    // the device (or the consumer's stream, see there) may read them. Not called for segments that
    // failed or were dropped by stop().
    std::function<void(std::uint64_t token)> copied;
    // Called once, with the first error. Nothing is copied afterwards.
    std::function<void(Error error)> failed;
    // Something was not available, and was done without.
    std::function<void(std::string note)> noted;
  };

  // memory and segments must outlive the copier, whose thread allocates and pins them, so that
  // readers can begin before the context exists. Failures there are reported by the callback.
  static Result<std::unique_ptr<DeviceCopier>> start(DeviceMemory& memory, GpuRuntime& runtime,
                                                     PinnedSegments& segments, Options options,
                                                     Callbacks callbacks);
  ~DeviceCopier();  // end()

  // Any thread that took the segment. It is returned once its copies are done, failed or dropped.
  void submit(std::uint32_t segment, std::vector<DeviceCopy> copies, std::uint64_t token) noexcept;

  // Any thread. Copies that have not started are dropped.
  void stop() noexcept;
  // Calls stop() and waits for the thread and for copies in flight: afterwards no copy reads a
  // segment or writes to the device, and no callback is called.
  void end() noexcept;

  // After end(): whether a call failed.
  [[nodiscard]] bool has_failed() const noexcept { return has_failed_; }

 private:
  struct Job {
    std::vector<DeviceCopy> copies;
    std::uint64_t token = 0;
    GpuEvent done = nullptr;
  };
  struct InFlight;

  DeviceCopier(DeviceMemory& memory, GpuRuntime& runtime, PinnedSegments& segments, Options options,
               Callbacks callbacks);
  void work();
  Result<void> open();
  void close();
  void pin_more();
  void start_submitted(InFlight& flight);
  void finish_oldest(InFlight& flight);
  void sleep();
  Result<void> start(std::uint32_t segment, GpuStream stream);
  Result<void> copy_all(std::uint32_t segment, GpuStream stream);
  Result<void> check_place(const DeviceCopy& copy);
  void fail(Error error);

  DeviceMemory& memory_;
  GpuRuntime& runtime_;
  PinnedSegments& segments_;
  const Options options_;
  const Callbacks callbacks_;

  std::vector<Job> jobs_;  // by segment; a job is its segment's owner's, and passes with it
  SlotStack submitted_;
  EventCount submitted_or_stopped_;
  std::atomic<bool> stopped_{false};
  // The copier's thread's own.
  std::vector<GpuStream> streams_;
  GpuEvent consumer_read_ = nullptr;
  bool has_failed_ = false;
  Thread thread_;  // last: joined before what it uses is gone
};

}  // namespace streamer::core::inline gpu
