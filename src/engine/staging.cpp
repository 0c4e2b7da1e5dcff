// SPDX-License-Identifier: Apache-2.0
#include "engine/staging.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "device/kept_segments.hpp"
#include "engine/reader_clock.hpp"
#include "engine/staged_chunk.hpp"

namespace streamer::core {

namespace {

// Pieces that are smaller on average cost more as copies of their own than being gathered first.
constexpr std::uint64_t kGatheredPieceBytes = 64 * kKiB;

std::string_view as_text_of(const std::byte* data, std::uint64_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace

bool Staging::needs_gathering(const Chunk& chunk) noexcept {
  return chunk.pieces > 1 && chunk.size / chunk.pieces < kGatheredPieceBytes;
}

// One device's. The order is that in which they need each other; the core has the memory.
struct Staging::Lane {
  std::unique_ptr<PinnedSegments> segments;
  std::unique_ptr<DeviceCopier> copier;
  int device = 0;
};

Staging::Staging(LoadCore& core, std::uint64_t segment_bytes)
    : core_(core),
      segment_bytes_(round_up(segment_bytes, kPageBytes)),
      left_(std::make_unique<std::atomic<std::uint32_t>[]>(core.plan.chunks().size())),
      lanes_(core.plan.memories().size()) {
  // relaxed: no reader is there yet.
  for (std::size_t i = 0; i < core.plan.chunks().size(); ++i)
    left_[i].store(1, std::memory_order_relaxed);
}

Result<std::unique_ptr<Staging>> Staging::make(LoadCore& core, CudaRuntime& runtime,
                                               const Options& options) {
  std::unique_ptr<Staging> made(new Staging(core, options.segment_bytes));
  const auto memories = static_cast<std::uint32_t>(core.plan.memories().size());
  for (std::uint32_t memory = 1; memory < memories; ++memory)
    TRY(made->open_lane(runtime, memory, options));
  // From its start a copier may fail the load, which then wakes those who wait in any lane.
  core.staging = made.get();
  for (std::uint32_t memory = 1; memory < memories; ++memory)
    TRY(made->start_copier(runtime, memory, options));
  return made;
}

Result<void> Staging::open_lane(CudaRuntime& runtime, std::uint32_t memory,
                                const Options& options) {
  auto lane = std::make_unique<Lane>();
  lane->device = core_.plan.memories()[memory].device;
  lane->segments = take_kept_segments(runtime, lane->device, options.segments, segment_bytes_);
  if (!lane->segments)
    lane->segments =
        TRY(PinnedSegments::make(runtime, lane->device, options.segments, segment_bytes_));
  lanes_[memory] = std::move(lane);
  return {};
}

Result<void> Staging::start_copier(CudaRuntime& runtime, std::uint32_t memory,
                                   const Options& options) {
  Lane& lane = *lanes_[memory];
  DeviceCopier::Options wanted{.device = lane.device, .streams = options.streams};
  if (lane.device == options.consumer_device) {
    wanted.consumer_stream = options.consumer_stream;
    wanted.overwrites = core_.plan.memories()[memory].ring_bytes != 0;
  }
  // The copier's thread counts for itself.
  ReaderCounters& counters = core_.counters[core_.readers + memory];
  DeviceCopier::Callbacks callbacks;
  callbacks.copied = [this, &counters](std::uint64_t token) {
    one_less(core_.plan.chunks()[token], counters);
  };
  callbacks.failed = [this](Error error) { core_.fail(std::move(error)); };
  callbacks.noted = [this](std::string note) { core_.notes.add(std::move(note)); };
  lane.copier = TRY(DeviceCopier::start(*core_.device_memories[memory], runtime, *lane.segments,
                                        wanted, std::move(callbacks)));
  return {};
}

Staging::~Staging() {
  std::vector<std::pair<int, std::unique_ptr<PinnedSegments>>> kept;
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
    if (is_as_good_as_new) kept.emplace_back(lane->device, std::move(lane->segments));
  }
  core_.staging = nullptr;
  for (auto& [device, segments] : kept)
    keep_segments(device, std::move(segments));
}

std::optional<std::uint32_t> Staging::try_take(const Chunk& chunk) noexcept {
  return lanes_[chunk.memory]->segments->try_take();
}

std::optional<std::uint32_t> Staging::take(const Chunk& chunk, ReaderCounters& mine) noexcept {
  PinnedSegments& segments = *lanes_[chunk.memory]->segments;
  if (const auto segment = segments.try_take()) return segment;
  const std::int64_t began = steady_now_ns();
  std::optional<std::uint32_t> segment;
  while (!segment && !core_.is_stopped()) {
    const std::uint32_t ticket = segments.given_back().prepare();
    segment = segments.try_take();
    if (segment || core_.is_stopped()) {
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
  return lane.segments->runtime().use_device(lane.device);
}

void Staging::submit(const Chunk& chunk, std::uint32_t segment, std::vector<DeviceCopy> copies,
                     ReaderCounters& mine) noexcept {
  std::uint64_t bytes = 0;
  for (const DeviceCopy& copy : copies)
    bytes += copy.bytes;
  add(mine.bytes_to_devices, bytes);
  // relaxed: the reader's own one keeps the count above zero until end_of().
  left_[chunk.number].fetch_add(1, std::memory_order_relaxed);
  lanes_[chunk.memory]->copier->submit(segment, std::move(copies), chunk.number);
}

void Staging::end_of(const Chunk& chunk, ReaderCounters& mine) noexcept {
  // Before the reader can begin to wait for a window: see is_stuck().
  core_.chunks_in_staging.fetch_add(1, std::memory_order_relaxed);
  one_less(chunk, mine);
}

void Staging::one_less(const Chunk& chunk, ReaderCounters& mine) noexcept {
  // acq_rel: whoever brings it to zero passes on what all others, reader or copier, had done.
  if (left_[chunk.number].fetch_sub(1, std::memory_order_acq_rel) == 1)
    core_.staged_chunk_landed(chunk, mine);
}

void Staging::deliver(const Chunk& chunk, const Dense& bytes, ReaderCounters& mine) {
  if (!bytes.segment) {
    StagedChunk gathered(*this, core_, chunk, mine);
    core_.plan.for_each_piece(chunk, chunk.offset, [&](const Piece& piece) {
      const std::byte* const from = bytes.data + (piece.offset - bytes.offset);
      gathered.put(piece.place, as_text_of(from, piece.size), [] {});
    });
    gathered.finish();
    return;
  }
  const auto crc_kind = core_.integrity ? core_.integrity->crc_of(chunk) : std::nullopt;
  std::uint64_t crc = 0;
  std::vector<DeviceCopy> copies;
  CopyJoiner joiner(core_.plan, chunk);
  core_.plan.for_each_piece(chunk, chunk.offset, [&](const Piece& piece) {
    const std::uint64_t offset = piece.offset - bytes.offset;
    if (crc_kind) crc = crc_update(*crc_kind, crc, as_text_of(bytes.data + offset, piece.size));
    // As the object has them, there is no room for padding.
    const bool joins = joiner.padding_before(piece.place) == 0 &&
                       copies.back().offset + copies.back().bytes == offset;
    if (joins) {
      copies.back().bytes += piece.size;
    } else {
      copies.push_back({core_.address(piece.place), offset, piece.size});
    }
    joiner.add(piece.place, piece.size);
  });
  if (!core_.verify_crc(chunk, crc)) return give_back(chunk, *bytes.segment);
  submit(chunk, *bytes.segment, std::move(copies), mine);
  end_of(chunk, mine);
}

void Staging::wake_waiting() noexcept {
  for (const auto& lane : lanes_) {
    if (lane) lane->segments->given_back().notify();
  }
}

std::uint64_t Staging::bytes() const noexcept {
  std::uint64_t bytes = 0;
  for (const auto& lane : lanes_) {
    if (lane) bytes += lane->segments->count() * segment_bytes_;
  }
  return bytes;
}

}  // namespace streamer::core
