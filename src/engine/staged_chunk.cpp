// SPDX-License-Identifier: Apache-2.0
#include "engine/staged_chunk.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/copy_past_caches.hpp"

namespace streamer::core::inline engine {

namespace {

constexpr std::uint64_t kCacheLine = 64;

std::string_view as_text_of(const std::byte* data, std::uint64_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace

StagedChunk::StagedChunk(Staging& staging, Landing& landing, const Chunk& chunk,
                         ReaderCounters& mine)
    : staging_(staging),
      landing_(landing),
      chunk_(chunk),
      counters_(mine),
      crc_kind_(landing.crc_of(chunk)),
      joiner_(landing.plan(), chunk) {
  mark(chunk.offset);
}

StagedChunk::~StagedChunk() {
  if (segment_) staging_.give_back(chunk_, *segment_);
}

// Bytes arrive in the order of the object, in pieces of any size. They collect in a segment, which
// goes on its way when it is full; meanwhile the next one fills.
void StagedChunk::put(Place place, std::string_view bytes,
                      const std::function<void()>& before_waiting) {
  if (crc_kind_) crc_ = crc_update(*crc_kind_, crc_, bytes);
  while (!bytes.empty() && !is_lost_) {
    if (!segment_ && !take_segment(before_waiting)) return;
    const std::size_t taken = append(place, bytes);
    place = place.plus(taken);
    bytes.remove_prefix(taken);
    if (!bytes.empty()) flush();
  }
}

// before_waiting: a thread with several chunks must pass on what it holds, or it would wait for
// itself.
bool StagedChunk::take_segment(const std::function<void()>& before_waiting) {
  segment_ = staging_.try_take(chunk_);
  if (!segment_) {
    before_waiting();
    segment_ = staging_.take(chunk_, counters_);
  }
  is_lost_ = !segment_;
  return segment_.has_value();
}

// Copies as many of the bytes as fit into the segment; returns how many.
std::size_t StagedChunk::append(Place place, std::string_view bytes) {
  std::byte* const segment = staging_.data(chunk_, *segment_);
  const std::uint64_t all = staging_.segment_bytes();
  const auto joined = joiner_.padding_before(place);
  const std::uint64_t padding = joined ? *joined : round_up(used_, kCacheLine) - used_;
  if (used_ + padding >= all) return 0;
  const std::uint64_t taken = std::min<std::uint64_t>(bytes.size(), all - used_ - padding);
  if (joined) {
    // The padding is copied too: it must not carry what an earlier use left in the segment.
    std::memset(segment + used_, 0, padding);
    copies_.back().bytes += padding + taken;
  } else {
    copies_.push_back({landing_.address(place), used_ + padding, taken});
  }
  copy_past_caches(segment + used_ + padding, bytes.data(), taken);
  used_ += padding + taken;
  joiner_.add(place, taken);
  return taken;
}

void StagedChunk::flush() noexcept {
  if (!segment_ || copies_.empty()) return;
  staging_.submit(chunk_, *std::exchange(segment_, std::nullopt), std::exchange(copies_, {}),
                  counters_);
  ++submissions_;
  used_ = 0;
  joiner_.restart();
}

// Remembers the state at an offset up to which the bytes are known to be the object's, for
// take_back().
void StagedChunk::mark(std::uint64_t offset) {
  marks_.push_back({.offset = offset,
                    .crc = crc_,
                    .submissions = submissions_,
                    .used = used_,
                    .copies = copies_.size(),
                    .last_copy_bytes = copies_.empty() ? 0 : copies_.back().bytes,
                    .joiner = joiner_});
}

// Back to the last mark at or before the offset: what came after it may not be the object's, and
// comes again. Bytes that are on their way to the device are overwritten there by the right ones.
std::uint64_t StagedChunk::take_back(std::uint64_t offset) {
  while (marks_.size() > 1 && marks_.back().offset > offset)
    marks_.pop_back();
  const Mark& mark = marks_.back();
  crc_ = mark.crc;
  joiner_ = mark.joiner;
  if (mark.submissions == submissions_) {
    used_ = mark.used;
    copies_.resize(mark.copies);
    if (!copies_.empty()) copies_.back().bytes = mark.last_copy_bytes;
  } else {
    // The segment of that time has been passed on, with right and wrong bytes.
    used_ = 0;
    copies_.clear();
    joiner_.restart();
  }
  // Nothing of it is needed, and this thread may wait for one before it comes back to this chunk.
  if (segment_ && copies_.empty())
    staging_.give_back(chunk_, *std::exchange(segment_, std::nullopt));
  return mark.offset;
}

void StagedChunk::finish() {
  // Verified before end_of(), which lets the chunk count as landed: a chunk with wrong bytes never
  // does.
  if (is_lost_ || !landing_.verify_crc(chunk_, crc_)) return;
  flush();
  staging_.end_of(chunk_, counters_);
}

// For a chunk that is whole in host memory. In a segment, pieces that are neighbours on both sides
// become one copy: the driver's cost is per copy, not per byte.
void deliver(Staging& staging, Landing& landing, const Chunk& chunk, const DenseBytes& bytes,
             ReaderCounters& mine) {
  if (!bytes.segment) {
    StagedChunk gathered(staging, landing, chunk, mine);
    landing.plan().for_each_piece(chunk, chunk.offset, [&](const Piece& piece) {
      const std::byte* const from = bytes.data + (piece.offset - bytes.offset);
      gathered.put(piece.place, as_text_of(from, piece.size), [] {});
    });
    gathered.finish();
    return;
  }
  const auto crc_kind = landing.crc_of(chunk);
  std::uint64_t crc = 0;
  std::vector<DeviceCopy> copies;
  CopyJoiner joiner(landing.plan(), chunk);
  landing.plan().for_each_piece(chunk, chunk.offset, [&](const Piece& piece) {
    const std::uint64_t offset = piece.offset - bytes.offset;
    if (crc_kind) crc = crc_update(*crc_kind, crc, as_text_of(bytes.data + offset, piece.size));
    // In the object's layout there is no room for padding.
    const bool joins = joiner.padding_before(piece.place) == 0 &&
                       copies.back().offset + copies.back().bytes == offset;
    if (joins) {
      copies.back().bytes += piece.size;
    } else {
      copies.push_back({landing.address(piece.place), offset, piece.size});
    }
    joiner.add(piece.place, piece.size);
  });
  if (!landing.verify_crc(chunk, crc)) return staging.give_back(chunk, *bytes.segment);
  staging.submit(chunk, *bytes.segment, std::move(copies), mine);
  staging.end_of(chunk, mine);
}

}  // namespace streamer::core::inline engine
