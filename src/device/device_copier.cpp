// SPDX-License-Identifier: Apache-2.0
#include "device/device_copier.hpp"

#include <fmt/format.h>

#include <deque>
#include <utility>

namespace streamer::core {

// Segments whose copies stand in streams, the oldest first.
struct DeviceCopier::InFlight {
  std::deque<std::uint32_t> segments;
  std::size_t next_stream = 0;
};

DeviceCopier::DeviceCopier(CudaRuntime& runtime, int device, PinnedSegments& segments,
                           Copied copied, Failed failed)
    : runtime_(runtime),
      device_(device),
      segments_(segments),
      copied_(std::move(copied)),
      failed_(std::move(failed)),
      jobs_(segments.count()),
      submitted_(segments.count()) {}

Result<std::unique_ptr<DeviceCopier>> DeviceCopier::make(CudaRuntime& runtime, int device,
                                                         std::uint32_t streams,
                                                         PinnedSegments& segments, Copied copied,
                                                         Failed failed) {
  std::unique_ptr<DeviceCopier> made(
      new DeviceCopier(runtime, device, segments, std::move(copied), std::move(failed)));
  TRY(made->prepare(streams));
  made->thread_ = TRY(Thread::start(fmt::format("streamer-gpu{}", device),
                                    [copier = made.get()] { copier->work(); }));
  return made;
}

// On the caller's thread, so that a device that is not there is an error of make().
Result<void> DeviceCopier::prepare(std::uint32_t streams) {
  const UseDevice use = TRY(UseDevice::make(runtime_, device_));
  for (std::uint32_t i = 0; i < streams; ++i)
    streams_.push_back(TRY(runtime_.create_stream()));
  for (Job& job : jobs_)
    job.done = TRY(runtime_.create_event());
  return {};
}

DeviceCopier::~DeviceCopier() {
  stop();
  thread_ = Thread();  // joins
  const auto use = UseDevice::make(runtime_, device_);
  // What a device in trouble keeps is lost with its context.
  for (const Job& job : jobs_) {
    if (job.done != nullptr) static_cast<void>(runtime_.destroy_event(job.done).has_value());
  }
  for (CudaStream stream : streams_)
    static_cast<void>(runtime_.destroy_stream(stream).has_value());
}

void DeviceCopier::submit(std::uint32_t segment, std::vector<DeviceCopy> copies,
                          std::uint64_t token) noexcept {
  jobs_[segment].copies = std::move(copies);
  jobs_[segment].token = token;
  // Passes on the job and the segment's bytes (see SlotStack).
  submitted_.push(segment);
  submitted_or_stopped_.notify();
}

void DeviceCopier::stop() noexcept {
  // relaxed: says only that nobody waits for more; what was done is passed on by joining.
  stopped_.store(true, std::memory_order_relaxed);
  submitted_or_stopped_.notify();
}

void DeviceCopier::work() {
  // The thread is ours: its device stays as it is set.
  auto use = runtime_.use_device(device_);
  if (!use) fail(std::move(use).error());
  InFlight flight;
  for (;;) {
    start_submitted(flight);
    if (!flight.segments.empty()) {
      finish_oldest(flight);
    } else if (stopped_.load(std::memory_order_relaxed) && submitted_.is_empty()) {
      return;
    } else {
      sleep();
    }
  }
}

// All that was submitted stands in streams before any of it is waited for.
void DeviceCopier::start_submitted(InFlight& flight) {
  // The last one comes first, so that the order is turned round.
  std::vector<std::uint32_t> segments;
  for (std::uint32_t at = submitted_.take_all(); at != SlotStack::kNone; at = submitted_.below(at))
    segments.push_back(at);
  for (auto at = segments.rbegin(); at != segments.rend(); ++at) {
    if (has_failed_ || stopped_.load(std::memory_order_relaxed)) {
      segments_.give_back(*at);
      continue;
    }
    const CudaStream stream = streams_[flight.next_stream++ % streams_.size()];
    auto started = start(*at, stream);
    if (!started) fail(std::move(started).error());
    // Even then: some of its copies may stand in the stream.
    flight.segments.push_back(*at);
  }
}

Result<void> DeviceCopier::start(std::uint32_t segment, CudaStream stream) {
  const Job& job = jobs_[segment];
  Result<void> outcome;
  for (const DeviceCopy& copy : job.copies) {
    outcome =
        runtime_.copy_to_device(copy.to, segments_.data(segment) + copy.offset, copy.bytes, stream);
    if (!outcome) break;
  }
  auto recorded = runtime_.record(job.done, stream);
  if (recorded) return outcome;
  // Without its event nothing says when the segment is free: now, then.
  static_cast<void>(runtime_.synchronize(stream).has_value());
  return outcome ? std::move(recorded) : std::move(outcome);
}

void DeviceCopier::finish_oldest(InFlight& flight) {
  const std::uint32_t segment = flight.segments.front();
  flight.segments.pop_front();
  const std::uint64_t token = jobs_[segment].token;
  auto done = runtime_.wait_for(jobs_[segment].done);
  if (!done) fail(std::move(done).error());
  // Before the next one who needs a segment is told: his bytes may be what the consumer waits for.
  if (!has_failed_) copied_(token);
  segments_.give_back(segment);
}

void DeviceCopier::sleep() {
  const std::uint32_t ticket = submitted_or_stopped_.prepare();
  if (!submitted_.is_empty() || stopped_.load(std::memory_order_relaxed)) {
    submitted_or_stopped_.retract();
  } else {
    submitted_or_stopped_.wait(ticket, std::nullopt);
  }
}

void DeviceCopier::fail(Error error) {
  if (std::exchange(has_failed_, true)) return;
  failed_(std::move(error));
}

}  // namespace streamer::core
