// SPDX-License-Identifier: Apache-2.0
#include "engine/blocking_source.hpp"

#include <algorithm>
#include <utility>

#include "base/operation.hpp"
#include "engine/reader_clock.hpp"
#include "engine/staged_chunk.hpp"

namespace streamer::core::inline engine {

namespace {

// Owns a segment until it is passed on: a store of the program's may throw.
class HeldSegment {
 public:
  HeldSegment(Staging& staging, const Chunk& chunk, std::optional<std::uint32_t> segment) noexcept
      : staging_(staging), chunk_(chunk), segment_(segment) {}
  HeldSegment(const HeldSegment&) = delete;
  HeldSegment& operator=(const HeldSegment&) = delete;
  ~HeldSegment() {
    if (segment_) staging_.give_back(chunk_, *segment_);
  }

  [[nodiscard]] bool is_there() const noexcept { return segment_.has_value(); }
  [[nodiscard]] std::byte* data() const noexcept { return staging_.data(chunk_, *segment_); }
  std::optional<std::uint32_t> pass_on() noexcept { return std::exchange(segment_, std::nullopt); }

 private:
  Staging& staging_;
  const Chunk& chunk_;
  std::optional<std::uint32_t> segment_;
};

}  // namespace

Result<std::unique_ptr<Source>> BlockingSource::make(SourceParts parts) {
  std::unique_ptr<BlockingSource> made(new BlockingSource(std::move(parts)));
  TRY(made->open_operation());
  return std::unique_ptr<Source>(std::move(made));
}

Result<void> BlockingSource::open_operation() {
  operation_ = TRY(landing_.open_operation());
  return {};
}

BlockingSource::BlockingSource(SourceParts parts)
    : landing_(parts.landing),
      objects_(parts.objects),
      staging_(parts.staging),
      chunks_(std::move(parts.chunks)),
      threads_(std::min(parts.threads, chunks_.size())) {}

void BlockingSource::run(std::uint32_t, ReaderCounters& mine) {
  const ReaderClock clock;
  // A store that checks whether its read is still wanted learns of the load's end at once.
  const Work for_the_load("the load", operation_);
  const WorkScope scope(&for_the_load);
  Buffers buffers{PageBuffer(mine), PageBuffer(mine)};
  while (!landing_.is_stopped()) {
    const auto claimed = chunks_.claim();
    if (!claimed) return;
    const Chunk& chunk = landing_.plan().chunks()[*claimed];
    if (!wait_until_admitted(chunk, mine)) return;
    if (landing_.is_capped() && !landing_.wait_for_bandwidth(chunk.size, mine)) return;
    auto outcome = bring(chunk, buffers, mine);
    if (!outcome) landing_.fail(std::move(outcome).error());
    clock.count(mine);
  }
}

// False if the load has stopped.
bool BlockingSource::wait_until_admitted(const Chunk& chunk, ReaderCounters& mine) {
  while (!landing_.is_stopped()) {
    // Read before the window is asked, so that a move in between is noticed.
    const std::uint64_t moves = landing_.window_moves();
    if (landing_.admits(chunk)) return true;
    landing_.wait_for_window(mine, moves);
  }
  return false;
}

Result<void> BlockingSource::bring(const Chunk& chunk, Buffers& buffers, ReaderCounters& mine) {
  if (landing_.is_for_device(chunk)) return bring_to_device(chunk, buffers, mine);
  if (chunk.pieces == 1) {
    const Place place = landing_.plan().piece_at(chunk, chunk.offset)->place;
    TRY(read(chunk, landing_.room_at(place, chunk.size), buffers.spare, mine));
  } else {
    const auto bytes = TRY(buffers.whole.get(chunk.size));
    TRY(read(chunk, bytes.data(), buffers.spare, mine));
    scatter(landing_, chunk, bytes, chunk.offset);
    add(mine.bytes_bounced, chunk.size);
  }
  landing_.chunk_landed(chunk, mine);
  return {};
}

Result<void> BlockingSource::bring_to_device(const Chunk& chunk, Buffers& buffers,
                                             ReaderCounters& mine) {
  const bool gathers = Staging::needs_gathering(chunk);
  HeldSegment segment(*staging_, chunk, gathers ? std::nullopt : staging_->take(chunk, mine));
  if (!gathers && !segment.is_there()) return {};  // the load stopped
  std::byte* const to = gathers ? TRY(buffers.whole.get(chunk.size)).data() : segment.data();
  TRY(read(chunk, to, buffers.spare, mine));
  if (gathers) add(mine.bytes_bounced, chunk.size);
  deliver(*staging_, landing_, chunk,
          {.data = to, .offset = chunk.offset, .segment = segment.pass_on()}, mine);
  return {};
}

Result<void> BlockingSource::read(const Chunk& chunk, std::byte* to, PageBuffer&,
                                  ReaderCounters& mine) {
  const SourceObject& one = objects_[chunk.object];
  TRY(one.store->read(*one.object, {chunk.offset, chunk.size}, {to, chunk.size}));
  add(mine.bytes_buffered, chunk.size);
  return {};
}

}  // namespace streamer::core::inline engine
