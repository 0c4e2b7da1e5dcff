// SPDX-License-Identifier: Apache-2.0
#include "gpu/device_copier.hpp"

#include <fmt/format.h>

#include <deque>
#include <utility>

#include "base/fits_in_memory.hpp"
#include "memory/numa.hpp"

namespace streamer::core::inline gpu {

// Segments whose copies are queued on streams, the oldest first.
struct DeviceCopier::InFlight {
  std::deque<std::uint32_t> segments;
  std::size_t next_stream = 0;
};

DeviceCopier::DeviceCopier(DeviceMemory& memory, GpuRuntime& runtime, PinnedSegments& segments,
                           Options options, Callbacks callbacks)
    : memory_(memory),
      runtime_(runtime),
      segments_(segments),
      options_(options),
      callbacks_(std::move(callbacks)),
      jobs_(segments.count()),
      submitted_(segments.count()) {}

Result<std::unique_ptr<DeviceCopier>> DeviceCopier::start(DeviceMemory& memory, GpuRuntime& runtime,
                                                          PinnedSegments& segments, Options options,
                                                          Callbacks callbacks) {
  std::unique_ptr<DeviceCopier> made(
      new DeviceCopier(memory, runtime, segments, options, std::move(callbacks)));
  made->thread_ = TRY(Thread::start(fmt::format("streamer-gpu{}", options.device),
                                    [copier = made.get()] { copier->work(); }));
  return made;
}

DeviceCopier::~DeviceCopier() {
  end();
}

void DeviceCopier::end() noexcept {
  stop();
  thread_.join();
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
  // relaxed: says only that no more is wanted; joining the thread publishes what it did.
  stopped_.store(true, std::memory_order_relaxed);
  submitted_or_stopped_.notify();
}

// The thread. What was submitted comes first; pinning more memory, which is slow, fills the time in
// which nothing is; the oldest copy is waited for only if there is no other work.
void DeviceCopier::work() {
  Error out_of_memory(ErrorKind::out_of_memory, "not enough memory for copies to a device");
  const bool fits = fits_in_memory([&] {
    auto opened = open();
    if (!opened) fail(std::move(opened).error());
    InFlight flight;
    for (;;) {
      start_submitted(flight);
      const bool may_pin = !has_failed_ && !stopped_.load(std::memory_order_relaxed);
      if (may_pin && !segments_.is_all_there()) {
        pin_more();
      } else if (!flight.segments.empty()) {
        finish_oldest(flight);
      } else if (stopped_.load(std::memory_order_relaxed) && submitted_.is_empty()) {
        return;
      } else {
        sleep();
      }
    }
  });
  if (!fits) fail(std::move(out_of_memory));
  close();
}

Result<void> DeviceCopier::open() {
  // The library's own thread: its current device stays set.
  TRY(memory_.allocate());
  for (std::uint32_t i = 0; i < options_.streams; ++i)
    streams_.push_back(TRY(runtime_.create_stream()));
  for (Job& job : jobs_)
    job.done = TRY(runtime_.create_event());
  if (options_.overwrites && options_.consumer_stream != nullptr)
    consumer_read_ = TRY(runtime_.create_event());
  // Only now: a reader that has a segment relies on the memory.
  segments_.open();
  // Existing pages stay on their node.
  if (segments_.pinned_bytes() != 0) return {};
  const auto facts = runtime_.facts(options_.device);
  const auto node = facts ? numa_node_of(facts->pci_address) : std::nullopt;
  if (node) segments_.prefer_node(*node);
  return {};
}

void DeviceCopier::close() {
  // Failures are ignored: what a failed device keeps is lost with its context.
  for (GpuStream stream : streams_) {
    // After a failure, a copy whose event was not waited for may still be in progress.
    if (has_failed_) static_cast<void>(runtime_.synchronize(stream).has_value());
  }
  for (const Job& job : jobs_) {
    if (job.done != nullptr) static_cast<void>(runtime_.destroy_event(job.done).has_value());
  }
  if (consumer_read_ != nullptr)
    static_cast<void>(runtime_.destroy_event(consumer_read_).has_value());
  for (GpuStream stream : streams_)
    static_cast<void>(runtime_.destroy_stream(stream).has_value());
}

void DeviceCopier::pin_more() {
  const bool was_quiet = segments_.note().empty();
  segments_.pin_more();
  if (was_quiet && !segments_.note().empty()) callbacks_.noted(segments_.note());
}

// Everything that was submitted is queued on streams before any of it is waited for.
void DeviceCopier::start_submitted(InFlight& flight) {
  // The stack gives the last one first: the order is reversed.
  std::vector<std::uint32_t> segments;
  for (std::uint32_t at = submitted_.take_all(); at != SlotStack::kNone; at = submitted_.below(at))
    segments.push_back(at);
  for (auto at = segments.rbegin(); at != segments.rend(); ++at) {
    if (has_failed_ || stopped_.load(std::memory_order_relaxed)) {
      segments_.give_back(*at);
      continue;
    }
    const GpuStream stream = streams_[flight.next_stream++ % streams_.size()];
    auto started = start(*at, stream);
    if (!started) fail(std::move(started).error());
    // Even then: some of its copies may stand in the stream.
    flight.segments.push_back(*at);
    if (!has_failed_ && options_.consumer_stream != nullptr) callbacks_.copied(jobs_[*at].token);
  }
}

// The event after the copies tells when the segment is free. With a consumer's stream that stream
// waits for it on the device: the consumer is told at once, before the bytes are there.
Result<void> DeviceCopier::start(std::uint32_t segment, GpuStream stream) {
  const Job& job = jobs_[segment];
  auto outcome = copy_all(segment, stream);
  auto recorded = runtime_.record(job.done, stream);
  if (!recorded) {
    // Without its event nothing tells when the segment is free, so it waits for the stream now.
    static_cast<void>(runtime_.synchronize(stream).has_value());
    return outcome ? std::move(recorded) : std::move(outcome);
  }
  if (outcome && options_.consumer_stream != nullptr)
    outcome = runtime_.wait_in_stream(options_.consumer_stream, job.done);
  return outcome;
}

// If memory is reused, the consumer's stream may still read what these copies overwrite: they wait
// for what it has queued so far.
Result<void> DeviceCopier::copy_all(std::uint32_t segment, GpuStream stream) {
  if (consumer_read_ != nullptr) {
    TRY(runtime_.record(consumer_read_, options_.consumer_stream));
    TRY(runtime_.wait_in_stream(stream, consumer_read_));
  }
  for (const DeviceCopy& copy : jobs_[segment].copies) {
    TRY(check_place(copy));
    TRY(runtime_.copy_to_device(copy.to, segments_.data(segment) + copy.offset, copy.bytes,
                                stream));
  }
  return {};
}

// A copy to another device's memory may well succeed: the program would find nothing where it
// looks.
Result<void> DeviceCopier::check_place(const DeviceCopy& copy) {
  const auto* const to = static_cast<const std::byte*>(copy.to);
  if (to >= memory_.data() && to < memory_.data() + memory_.bytes()) return {};
  const auto device = TRY(runtime_.device_of(to));
  if (!device || *device == options_.device) return {};
  return Error(
      ErrorKind::invalid_argument,
      fmt::format("the destination {} is memory of {}:{}, and the load was told that it is "
                  "memory of {}:{}",
                  copy.to, runtime_.kind_name(), *device, runtime_.kind_name(), options_.device));
}

void DeviceCopier::finish_oldest(InFlight& flight) {
  const std::uint32_t segment = flight.segments.front();
  flight.segments.pop_front();
  const std::uint64_t token = jobs_[segment].token;
  auto done = runtime_.wait_for(jobs_[segment].done);
  if (!done) fail(std::move(done).error());
  // Before readers that wait for a segment are woken: the consumer may be waiting for these bytes.
  if (!has_failed_ && options_.consumer_stream == nullptr) callbacks_.copied(token);
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
  callbacks_.failed(std::move(error));
}

}  // namespace streamer::core::inline gpu
