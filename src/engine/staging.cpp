// SPDX-License-Identifier: Apache-2.0
#include "engine/staging.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/reader_clock.hpp"
#include "gpu/kept_segments.hpp"

namespace streamer::core::inline engine {

namespace {

// Pieces that are smaller on average cost more as separate copies than gathered first.
constexpr std::uint64_t kGatheredPieceBytes = 64 * kKiB;

}  // namespace

bool Staging::needs_gathering(const Chunk& chunk) noexcept {
  return chunk.pieces > 1 && chunk.size / chunk.pieces < kGatheredPieceBytes;
}

// The parts of one device, declared in the order in which they depend on each other; the landing
// has the memory.
struct Staging::Lane {
  std::unique_ptr<PinnedSegments> segments;
  std::unique_ptr<DeviceCopier> copier;
  Device device;
};

Staging::Staging(Landing& landing, const Options& options)
    : landing_(landing),
      options_(options),
      segment_bytes_(round_up(options.segment_bytes, kPageBytes)),
      left_(std::make_unique<std::atomic<std::uint32_t>[]>(landing.plan().chunks().size())),
      counters_(landing.plan().memories().size()),
      lanes_(landing.plan().memories().size()) {
  // relaxed: no reader runs yet.
  for (std::size_t i = 0; i < landing.plan().chunks().size(); ++i)
    left_[i].store(1, std::memory_order_relaxed);
}

Result<std::unique_ptr<Staging>> Staging::make(Landing& landing, const Options& options) {
  std::unique_ptr<Staging> made(new Staging(landing, options));
  for (std::uint32_t memory = 1; memory < made->lanes_.size(); ++memory)
    TRY(made->open_lane(memory));
  return made;
}

Result<void> Staging::start() {
  // Once started, a copier may fail the load, which then wakes threads that wait in any lane.
  landing_.set_stop_listener(this);
  for (std::uint32_t memory = 1; memory < lanes_.size(); ++memory)
    TRY(start_copier(memory));
  return {};
}

// Pinned memory is expensive to make (RESULTS.md): an earlier load's is taken over if it fits.
Result<void> Staging::open_lane(std::uint32_t memory) {
  auto lane = std::make_unique<Lane>();
  lane->device = landing_.plan().memories()[memory].device;
  GpuRuntime& runtime = landing_.memory().devices[memory]->runtime();
  const int number = lane->device.number;
  lane->segments = take_kept_segments(runtime, number, options_.segments, segment_bytes_);
  if (!lane->segments)
    lane->segments = TRY(PinnedSegments::make(runtime, number, options_.segments, segment_bytes_));
  lanes_[memory] = std::move(lane);
  return {};
}

// One copier for each device: its thread is the only one that talks to the device's runtime while
// the load runs.
Result<void> Staging::start_copier(std::uint32_t memory) {
  Lane& lane = *lanes_[memory];
  DeviceCopier::Options wanted{.device = lane.device.number, .streams = options_.streams};
  if (lane.device == options_.consumer_device) {
    wanted.consumer_stream = options_.consumer_stream;
    wanted.overwrites = landing_.plan().memories()[memory].ring_bytes != 0;
  }
  // The copier's thread has its own counters.
  ReaderCounters& counters = counters_[memory];
  DeviceCopier::Callbacks callbacks;
  callbacks.copied = [this, &counters](std::uint64_t token) {
    one_less(landing_.plan().chunks()[token], counters);
  };
  callbacks.failed = [this](Error error) { landing_.fail(std::move(error)); };
  callbacks.noted = [this](std::string note) { landing_.notes().add(std::move(note)); };
  DeviceMemory& target = *landing_.memory().devices[memory];
  lane.copier = TRY(
      DeviceCopier::start(target, target.runtime(), *lane.segments, wanted, std::move(callbacks)));
  return {};
}

Staging::~Staging() {
  std::vector<std::pair<int, std::unique_ptr<PinnedSegments>>> kept;
  // All are told before the first is waited for, so that the devices wind down at the same time.
  for (const auto& lane : lanes_) {
    if (lane && lane->copier) lane->copier->stop();
  }
  for (const auto& lane : lanes_) {
    if (!lane || !lane->copier) continue;
    // Until then it may hold segments.
    lane->copier->end();
    const bool is_as_good_as_new =
        !lane->copier->has_failed() && lane->segments->note().empty() && lane->segments->close();
    lane->copier.reset();
    if (is_as_good_as_new) kept.emplace_back(lane->device.number, std::move(lane->segments));
  }
  landing_.set_stop_listener(nullptr);
  for (auto& [device, segments] : kept)
    keep_segments(device, std::move(segments));
}

std::optional<std::uint32_t> Staging::try_take(const Chunk& chunk) noexcept {
  return lanes_[chunk.memory]->segments->try_take();
}

// nullopt only if the load has stopped. Segments come back when the copier has waited for their
// copies, so the wait is as long as the device is behind.
std::optional<std::uint32_t> Staging::take(const Chunk& chunk, ReaderCounters& mine) noexcept {
  PinnedSegments& segments = *lanes_[chunk.memory]->segments;
  if (const auto segment = segments.try_take()) return segment;
  const std::int64_t began = steady_now_ns();
  std::optional<std::uint32_t> segment;
  while (!segment && !landing_.is_stopped()) {
    const std::uint32_t ticket = segments.given_back().prepare();
    // One given back before prepare() would wake nobody: look again.
    segment = segments.try_take();
    if (segment || landing_.is_stopped()) {
      segments.given_back().retract();
    } else {
      segments.given_back().wait(ticket, std::nullopt);
    }
  }
  add(mine.staging_wait_ns, static_cast<std::uint64_t>(steady_now_ns() - began));
  return segment;
}

void Staging::give_back(const Chunk& chunk, std::uint32_t segment) noexcept {
  lanes_[chunk.memory]->segments->give_back(segment);
}

std::byte* Staging::data(const Chunk& chunk, std::uint32_t segment) const noexcept {
  return lanes_[chunk.memory]->segments->data(segment);
}

Result<void> Staging::use_device(const Chunk& chunk) {
  const Lane& lane = *lanes_[chunk.memory];
  return lane.segments->runtime().use_device(lane.device.number);
}

void Staging::submit(const Chunk& chunk, std::uint32_t segment, std::vector<DeviceCopy> copies,
                     ReaderCounters& mine) noexcept {
  std::uint64_t bytes = 0;
  for (const DeviceCopy& copy : copies)
    bytes += copy.bytes;
  add(mine.bytes_to_devices, bytes);
  // relaxed: the reader's own count keeps it above zero until end_of().
  left_[chunk.number].fetch_add(1, std::memory_order_relaxed);
  lanes_[chunk.memory]->copier->submit(segment, std::move(copies), chunk.number);
}

void Staging::end_of(const Chunk& chunk, ReaderCounters& mine) noexcept {
  landing_.chunk_left_host();
  one_less(chunk, mine);
}

void Staging::one_less(const Chunk& chunk, ReaderCounters& mine) noexcept {
  // acq_rel: the thread that reaches zero passes on what all others, reader or copier, have done.
  if (left_[chunk.number].fetch_sub(1, std::memory_order_acq_rel) == 1)
    landing_.device_chunk_landed(chunk, mine);
}

void Staging::load_stopped() noexcept {
  for (const auto& lane : lanes_) {
    if (lane) lane->segments->given_back().notify();
  }
}

void Staging::add_to(LoadStats& stats) const {
  counters_.add_to(stats);
  stats.staging_bytes = bytes();
}

std::uint64_t Staging::bytes() const noexcept {
  std::uint64_t bytes = 0;
  for (const auto& lane : lanes_) {
    if (lane) bytes += lane->segments->count() * segment_bytes_;
  }
  return bytes;
}

}  // namespace streamer::core::inline engine
