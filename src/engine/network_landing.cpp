// SPDX-License-Identifier: Apache-2.0
// What a network reader does with bytes that come: lays them where they belong at once, and hands
// chunks over once the bytes are confirmed. One answer at a time writes to a stretch. When it
// breaks off, its end is taken back and read again.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/copy_past_caches.hpp"
#include "base/log.hpp"
#include "engine/network_flight.hpp"

namespace streamer::core {

namespace {

void warn(const Object& object, std::string_view what) {
  log_line(LogLevel::warning, fmt::format("{}: {}", object.uri.text(), what));
}

}  // namespace

void NetworkReader::land(Flight& flight, std::uint64_t offset, std::string_view bytes) {
  Stretch& stretch = *flight.stretch;
  const bool has_sample = flight.samples.note(offset, bytes);
  flight.position = offset + bytes.size();
  // What another request already brought, and what was split off since this one was made.
  const std::uint64_t end = std::min(flight.position, stretch.end);
  const std::uint64_t fresh = end > stretch.next ? end - stretch.next : 0;
  if (!may_write(flight, offset, bytes, fresh != 0)) {
    add(counters_.bytes_discarded, bytes.size());
    return;
  }
  add(counters_.bytes_discarded, bytes.size() - fresh);
  if (fresh != 0) {
    const std::string_view taken = bytes.substr(stretch.next - offset, fresh);
    stretch.broken.compare(stretch.next, taken);
    if (has_sample && offset == stretch.next) mark(stretch);
    copy_out(stretch, stretch.next, taken);
    stretch.next = end;
    last_progress_ = loop_->now();
    fill_chunks(stretch);
    // So that what breaks off later can be read again from a chunk's begin.
    for (std::size_t i = stretch.landed_chunks; i < stretch.filled_chunks; ++i) {
      const std::uint64_t border = chunk_at(stretch, i).end();
      if (border > offset && border < flight.position)
        flight.samples.take(border, bytes.substr(border - offset));
    }
  }
  settle(stretch);
}

// Whether the bytes, which are fresh or not, may go to the stretch, or confirm what it has.
bool NetworkReader::may_write(Flight& flight, std::uint64_t offset, std::string_view bytes,
                              bool is_fresh) {
  Stretch& stretch = *flight.stretch;
  if (stretch.writer == &flight) return true;
  if (stretch.writer != nullptr) {
    // Two answers to one question: they must say the same.
    if (const auto at = stretch.writer->samples.last_difference(offset, bytes))
      flight.last_difference = std::max(flight.last_difference, *at + 1);
  }
  if (!is_fresh) return false;
  if (offset > stretch.next) {
    end_flight(flight);
    return false;
  }
  return take_over(flight);
}

// The flight has brought all that the stretch's writer did, and vouches for it. False if it cannot.
bool NetworkReader::take_over(Flight& flight) {
  Stretch& stretch = *flight.stretch;
  if (stretch.writer != nullptr && flight.last_difference > stretch.confirmed) {
    warn(object_of(stretch),
         fmt::format("two answers differ near byte {}; both are dropped, and it is read again",
                     flight.last_difference - 1));
    break_off(*stretch.writer, false);
    end_flight(flight);
    stretch.wants_fresh_connection = true;
    return false;
  }
  stretch.writer = &flight;
  flight.last_difference = 0;
  return true;
}

// To where the bytes belong; what lies between the wanted pieces is dropped.
void NetworkReader::copy_out(Stretch& stretch, std::uint64_t offset, std::string_view bytes) {
  const std::uint64_t end = offset + bytes.size();
  if (offset >= stretch.piece_begin && end <= stretch.piece_end) {
    put(stretch, *stretch.piece_chunk, stretch.piece_place.plus(offset - stretch.piece_begin),
        bytes);
    return;
  }
  for (std::size_t i = stretch.filled_chunks; i < stretch.chunks.size(); ++i) {
    const Chunk& chunk = chunk_at(stretch, i);
    if (chunk.offset >= end) break;
    core_.plan.for_each_piece(chunk, offset, end, [&](const Piece& piece) {
      put(stretch, chunk, piece.place, bytes.substr(piece.offset - offset, piece.size));
    });
  }
  // The next bytes most likely go on in one large piece: found once, used for all of it.
  stretch.piece_begin = stretch.piece_end = 0;
  if (end == stretch.end) return;
  for (std::size_t i = stretch.filled_chunks; i < stretch.chunks.size(); ++i) {
    const Chunk& chunk = chunk_at(stretch, i);
    if (chunk.end() <= end) continue;
    const auto piece = core_.plan.piece_at(chunk, end);
    if (!piece) return;
    stretch.piece_begin = piece->offset;
    stretch.piece_end = piece->offset + piece->size;
    stretch.piece_place = piece->place;
    stretch.piece_chunk = &chunk;
    return;
  }
}

void NetworkReader::put(Stretch& stretch, const Chunk& chunk, Place place, std::string_view bytes) {
  if (core_.is_for_device(chunk)) return stage(stretch, chunk, place, bytes);
  std::byte* const to = core_.address(place);
  if (!core_.integrity) return copy_past_caches(to, bytes.data(), bytes.size());
  const auto crc_kind = core_.integrity->crc_of(chunk);
  // SHA-256 reads all of it again, in order.
  if (!crc_kind) return static_cast<void>(std::memcpy(to, bytes.data(), bytes.size()));
  if (stretch.crcs.empty() || stretch.crcs.back().chunk != chunk.number)
    stretch.crcs.push_back({.chunk = chunk.number});
  // Summed where they came in, which is in the cache: where they go to is not.
  std::uint64_t& crc = stretch.crcs.back().crc;
  crc = crc_update(*crc_kind, crc, bytes);
  copy_past_caches(to, bytes.data(), bytes.size());
}

void NetworkReader::stage(Stretch& stretch, const Chunk& chunk, Place place,
                          std::string_view bytes) {
  auto& staged = stretch.staged;
  if (staged.empty() || staged.back()->chunk().number != chunk.number) {
    // Only the last one holds a segment.
    if (!staged.empty()) staged.back()->flush();
    staged.push_back(std::make_unique<StagedChunk>(*core_.staging, core_, chunk, counters_));
  }
  staged.back()->put(place, bytes, [&] {
    for (const auto& one : stretches_) {
      if (!one->staged.empty()) one->staged.back()->flush();
    }
  });
}

// So that what comes from here on can be taken back from a device's segment.
void NetworkReader::mark(Stretch& stretch) {
  if (stretch.staged.empty()) return;
  StagedChunk& last = *stretch.staged.back();
  if (last.chunk().end() > stretch.next) last.mark(stretch.next);
}

// Chunks all of whose bytes are there. Those for a device set out, but do not end before they are
// confirmed.
void NetworkReader::fill_chunks(Stretch& stretch) {
  while (stretch.filled_chunks < stretch.chunks.size()) {
    const Chunk& chunk = chunk_at(stretch, stretch.filled_chunks);
    if (chunk.end() > stretch.next) return;
    ++stretch.filled_chunks;
    if (!stretch.staged.empty() && stretch.staged.back()->chunk().number == chunk.number)
      stretch.staged.back()->flush();
  }
}

// ---- What counts ----

// Looks how far the bytes that are there are confirmed now, and hands over what is.
void NetworkReader::settle(Stretch& stretch) {
  if (stretch.writer != nullptr) {
    const std::uint64_t sure = std::min(stretch.writer->sure_until(), stretch.next);
    stretch.confirmed = std::max(stretch.confirmed, sure);
  }
  if (!stretch.broken.empty() && !judge_broken(stretch)) return;
  land_chunks(stretch);
}

void NetworkReader::land_chunks(Stretch& stretch) {
  while (stretch.landed_chunks < stretch.filled_chunks) {
    const Chunk& chunk = chunk_at(stretch, stretch.landed_chunks);
    if (chunk.end() > stretch.confirmed) return;
    ++stretch.landed_chunks;
    if (stretch.writer != nullptr) stretch.writer->samples.forget_before(chunk.end());
    if (!core_.is_for_device(chunk)) {
      host_chunk_landed(stretch, chunk);
    } else if (!stretch.staged.empty() && stretch.staged.front()->chunk().number == chunk.number) {
      stretch.staged.front()->finish();
      stretch.staged.pop_front();
    }
  }
}

void NetworkReader::host_chunk_landed(Stretch& stretch, const Chunk& chunk) {
  if (stretch.crcs.empty() || stretch.crcs.front().chunk != chunk.number)
    return core_.chunk_landed(chunk, counters_);
  const Stretch::PassingCrc passed = stretch.crcs.front();
  stretch.crcs.pop_front();
  if (passed.is_lost) return core_.chunk_landed(chunk, counters_);
  core_.summed_chunk_landed(chunk, passed.crc, counters_);
}

// Holds what was read again against the answers that broke off. False while chunks must not be
// handed over.
bool NetworkReader::judge_broken(Stretch& stretch) {
  const auto finding = stretch.broken.judge(stretch.confirmed, stretch.confirmed == stretch.end);
  if (finding.difference) warn(object_of(stretch), describe_difference(*finding.difference));
  if (!finding.wrong_perhaps_since) return !finding.is_open;
  // What was not handed over can be read again.
  const std::uint64_t begin = begin_of(stretch);
  if (*finding.wrong_perhaps_since >= begin) {
    go_back(stretch, begin);
    stretch.broken.clear();
    return false;
  }
  core_.fail(Error(ErrorKind::corrupt,
                   fmt::format("an answer that broke off had brought more than {} KiB that are not "
                               "the object's, and some of it may have been handed over; a proxy "
                               "before the store writes into answers: load again, and find it",
                               kGuardBytes / kKiB))
                 .at(object_of(stretch).uri.text(),
                     {*finding.wrong_perhaps_since, begin - *finding.wrong_perhaps_since}));
  return false;
}

// The flight failed. What it brought last, or of what was refused as a whole all that was not
// handed over, is read again.
void NetworkReader::break_off(Flight& flight, bool is_refused) {
  Stretch& stretch = *flight.stretch;
  if (stretch.writer != &flight || stretch.is_whole()) return;
  const std::uint64_t begin = std::max(flight.wanted().offset, begin_of(stretch));
  const std::uint64_t last_sure = flight.samples.at_or_before(stretch.confirmed);
  stretch.broken.forget_comparison();
  const std::uint64_t had = stretch.next;
  go_back(stretch, is_refused ? begin : std::max(begin, last_sure));
  if (had == stretch.next) return;  // nothing of it was there
  stretch.broken.add({flight.wanted().offset, stretch.next, flight.samples.from(stretch.next)});
}

// All from `to` on, or from a little before, is read again.
void NetworkReader::go_back(Stretch& stretch, std::uint64_t to) {
  stretch.writer = nullptr;
  if (to == stretch.next) return;
  while (!stretch.staged.empty() && stretch.staged.back()->chunk().offset >= to)
    stretch.staged.pop_back();
  if (!stretch.staged.empty() && stretch.staged.back()->chunk().end() > to)
    to = stretch.staged.back()->take_back(to);
  while (!stretch.crcs.empty() && core_.plan.chunks()[stretch.crcs.back().chunk].offset >= to)
    stretch.crcs.pop_back();
  if (!stretch.crcs.empty() && core_.plan.chunks()[stretch.crcs.back().chunk].end() > to)
    stretch.crcs.back().is_lost = true;
  stretch.is_unquiet = core_.is_for_device(chunk_at(stretch, 0));
  add(counters_.bytes_discarded, stretch.next - to);
  stretch.next = stretch.confirmed = to;
  stretch.piece_begin = stretch.piece_end = 0;
  while (stretch.filled_chunks > stretch.landed_chunks &&
         chunk_at(stretch, stretch.filled_chunks - 1).end() > to)
    --stretch.filled_chunks;
  for (const auto& other : flights_) {
    if (other->stretch == &stretch && (other->position > to || stretch.is_unquiet))
      end_flight(*other);
  }
}

// Where what was not handed over begins.
std::uint64_t NetworkReader::begin_of(const Stretch& stretch) const {
  return chunk_at(stretch, stretch.landed_chunks).offset;
}

const Object& NetworkReader::object_of(const Stretch& stretch) const {
  return core_.checkpoint->objects[stretch.object].object;
}

}  // namespace streamer::core
