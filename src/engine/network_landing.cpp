// SPDX-License-Identifier: Apache-2.0
// What a network reader does with incoming bytes: it puts them into their place at once, and hands
// chunks over once the bytes are confirmed. One answer at a time writes to a range. If that answer
// breaks off, its last bytes are taken back and read again.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/copy_past_caches.hpp"
#include "base/log.hpp"
#include "engine/network_reader.hpp"

namespace streamer::core::inline engine {

namespace {

void warn(const Object& object, std::string_view what) {
  log_line(LogLevel::warning, fmt::format("{}: {}", object.uri.text(), what));
}

}  // namespace

void NetworkReader::bytes_came(InFlightRequest& request, std::uint64_t offset,
                               std::string_view bytes) {
  add(counters_.bytes_network, bytes.size());
  if (request.range == nullptr) {
    add(counters_.bytes_discarded, bytes.size());
  } else {
    land(request, offset, bytes);
  }
}

void NetworkReader::land(InFlightRequest& request, std::uint64_t offset, std::string_view bytes) {
  PendingRange& range = *request.range;
  const bool has_sample = request.samples.note(offset, bytes);
  request.position = offset + bytes.size();
  // Without bytes that another request already brought, and those split off since this one was
  // made.
  const std::uint64_t end = std::min(request.position, range.end);
  const std::uint64_t fresh = end > range.next ? end - range.next : 0;
  if (!may_write(request, offset, bytes, fresh != 0)) {
    add(counters_.bytes_discarded, bytes.size());
    return;
  }
  add(counters_.bytes_discarded, bytes.size() - fresh);
  if (fresh != 0) {
    const std::string_view taken = bytes.substr(range.next - offset, fresh);
    range.broken.compare(range.next, taken);
    if (has_sample && offset == range.next) mark(range);
    copy_out(range, range.next, taken);
    if (range.cache_run) range.cache_run->take(range.next, taken);
    range.next = end;
    last_progress_ = loop_->now();
    fill_chunks(range);
    // If the answer breaks off later, it can then be read again from the beginning of a chunk.
    for (std::size_t i = range.landed_chunks; i < range.filled_chunks; ++i) {
      const std::uint64_t border = chunk_at(range, i).end();
      if (border > offset && border < request.position)
        request.samples.take(border, bytes.substr(border - offset));
    }
  }
  settle(range);
}

// Whether the bytes, fresh or not, may be written to the range, or confirm what it has.
bool NetworkReader::may_write(InFlightRequest& request, std::uint64_t offset,
                              std::string_view bytes, bool is_fresh) {
  PendingRange& range = *request.range;
  if (range.writer == &request) return true;
  if (range.writer != nullptr) {
    // Two answers to the same request: their bytes must be the same.
    if (const auto at = range.writer->samples.last_difference(offset, bytes))
      request.last_difference = std::max(request.last_difference, *at + 1);
  }
  if (!is_fresh) return false;
  // It would leave a gap after `next`.
  if (offset > range.next) {
    end_request(request);
    return false;
  }
  return take_over(request);
}

// The request has brought everything that the range's writer did, and becomes the writer. False if
// their bytes differ.
bool NetworkReader::take_over(InFlightRequest& request) {
  PendingRange& range = *request.range;
  if (range.writer != nullptr && request.last_difference > range.confirmed) {
    warn(object_of(range),
         fmt::format(
             "two answers differ near byte {}; both are dropped, and the bytes are read again",
             request.last_difference - 1));
    break_off(*range.writer, false);
    end_request(request);
    range.wants_fresh_connection = true;
    return false;
  }
  range.writer = &request;
  request.last_difference = 0;
  return true;
}

// Copies the bytes to their places; bytes between the wanted pieces are dropped.
void NetworkReader::copy_out(PendingRange& range, std::uint64_t offset, std::string_view bytes) {
  const std::uint64_t end = offset + bytes.size();
  if (offset >= range.piece_begin && end <= range.piece_end) {
    put(range, *range.piece_chunk, range.piece_place.plus(offset - range.piece_begin), bytes);
    return;
  }
  for (std::size_t i = range.filled_chunks; i < range.chunks.size(); ++i) {
    const Chunk& chunk = chunk_at(range, i);
    if (chunk.offset >= end) break;
    landing_.plan().for_each_piece(chunk, offset, end, [&](const Piece& piece) {
      put(range, chunk, piece.place, bytes.substr(piece.offset - offset, piece.size));
    });
  }
  // The next bytes most likely continue one large piece: it is looked up once, and used for all of
  // it.
  range.piece_begin = range.piece_end = 0;
  if (end == range.end) return;
  for (std::size_t i = range.filled_chunks; i < range.chunks.size(); ++i) {
    const Chunk& chunk = chunk_at(range, i);
    if (chunk.end() <= end) continue;
    const auto piece = landing_.plan().piece_at(chunk, end);
    if (!piece) return;
    range.piece_begin = piece->offset;
    range.piece_end = piece->offset + piece->size;
    range.piece_place = piece->place;
    range.piece_chunk = &chunk;
    return;
  }
}

void NetworkReader::put(PendingRange& range, const Chunk& chunk, Place place,
                        std::string_view bytes) {
  if (landing_.is_for_device(chunk)) return stage(range, chunk, place, bytes);
  std::byte* const to = landing_.room_at(place, bytes.size());
  if (!landing_.verifies()) return copy_past_caches(to, bytes.data(), bytes.size());
  const auto crc_kind = landing_.crc_of(chunk);
  // SHA-256 will read the bytes again, in order: so they are better left in the caches.
  if (!crc_kind) return static_cast<void>(std::memcpy(to, bytes.data(), bytes.size()));
  if (range.crcs.empty() || range.crcs.back().chunk != chunk.number)
    range.crcs.push_back({.chunk = chunk.number});
  // The CRC is taken from the receive buffer, which is in the cache; the destination is not.
  std::uint64_t& crc = range.crcs.back().crc;
  crc = crc_update(*crc_kind, crc, bytes);
  copy_past_caches(to, bytes.data(), bytes.size());
}

void NetworkReader::stage(PendingRange& range, const Chunk& chunk, Place place,
                          std::string_view bytes) {
  auto& staged = range.staged;
  if (staged.empty() || staged.back()->chunk().number != chunk.number) {
    // Only the last one may hold a segment.
    if (!staged.empty()) staged.back()->flush();
    staged.push_back(std::make_unique<StagedChunk>(*staging_, landing_, chunk, counters_));
  }
  // Before it waits for a segment this thread passes on all it holds: the others may wait for
  // those.
  staged.back()->put(place, bytes, [&] {
    for (const auto& one : ranges_) {
      if (!one->staged.empty()) one->staged.back()->flush();
    }
  });
}

// Bytes from here on can then be taken back from a device's segment.
void NetworkReader::mark(PendingRange& range) {
  if (range.staged.empty()) return;
  StagedChunk& last = *range.staged.back();
  if (last.chunk().end() > range.next) last.mark(range.next);
}

// Counts the chunks whose bytes have all arrived. Those for a device are submitted now, but end
// only when they are confirmed.
void NetworkReader::fill_chunks(PendingRange& range) {
  while (range.filled_chunks < range.chunks.size()) {
    const Chunk& chunk = chunk_at(range, range.filled_chunks);
    if (chunk.end() > range.next) return;
    ++range.filled_chunks;
    if (!range.staged.empty() && range.staged.back()->chunk().number == chunk.number)
      range.staged.back()->flush();
  }
}

// ---- Confirming bytes ----

// Determines how far the bytes are confirmed now, and hands over the chunks that are.
void NetworkReader::settle(PendingRange& range) {
  if (range.writer != nullptr) {
    const std::uint64_t sure = std::min(range.writer->sure_until(), range.next);
    range.confirmed = std::max(range.confirmed, sure);
  }
  if (!range.broken.empty() && !judge_broken(range)) return;
  land_chunks(range);
}

void NetworkReader::land_chunks(PendingRange& range) {
  while (range.landed_chunks < range.filled_chunks) {
    const Chunk& chunk = chunk_at(range, range.landed_chunks);
    if (chunk.end() > range.confirmed) return;
    ++range.landed_chunks;
    keep(range, chunk);
    if (range.writer != nullptr) range.writer->samples.forget_before(chunk.end());
    if (!landing_.is_for_device(chunk)) {
      host_chunk_landed(range, chunk);
    } else if (!range.staged.empty() && range.staged.front()->chunk().number == chunk.number) {
      range.staged.front()->finish();
      range.staged.pop_front();
    }
  }
}

// The chunk's bytes, which are right, go to the machine's cache.
void NetworkReader::keep(PendingRange& range, const Chunk& chunk) {
  if (!range.cache_run) return;
  const auto passed = range.cache_run->confirm(chunk.end(), range.is_whole());
  add(counters_.bytes_to_cache, passed.kept);
  add(counters_.bytes_cache_dropped, passed.dropped);
}

void NetworkReader::host_chunk_landed(PendingRange& range, const Chunk& chunk) {
  if (range.crcs.empty() || range.crcs.front().chunk != chunk.number)
    return landing_.chunk_landed(chunk, counters_);
  const PendingRange::PassingCrc passed = range.crcs.front();
  range.crcs.pop_front();
  if (passed.is_lost) return landing_.chunk_landed(chunk, counters_);
  landing_.summed_chunk_landed(chunk, passed.crc, counters_);
}

// Compares what was read again with the answers that broke off. False while chunks must not be
// handed over.
bool NetworkReader::judge_broken(PendingRange& range) {
  const auto finding = range.broken.judge(range.confirmed, range.confirmed == range.end);
  if (finding.difference) warn(object_of(range), describe_difference(*finding.difference));
  if (!finding.wrong_perhaps_since) return !finding.is_open;
  // Chunks that were not handed over can be read again; the others are with the consumer already.
  const std::uint64_t begin = begin_of(range);
  if (*finding.wrong_perhaps_since >= begin) {
    go_back(range, begin);
    range.broken.clear();
    return false;
  }
  landing_.fail(
      Error(ErrorKind::corrupt,
            fmt::format("an answer that broke off had brought more than {} KiB that are not the "
                        "object's, and some of it may have been handed over; a proxy in front of "
                        "the store writes into answers: find it, then load again",
                        kGuardBytes / kKiB))
          .at(object_of(range).uri.text(),
              {*finding.wrong_perhaps_since, begin - *finding.wrong_perhaps_since}));
  return false;
}

// The request failed. Its last bytes are read again or, if the answer was refused as a whole,
// everything that was not handed over.
void NetworkReader::break_off(InFlightRequest& request, bool is_refused) {
  PendingRange& range = *request.range;
  if (range.writer != &request || range.is_whole()) return;
  const std::uint64_t begin = std::max(request.wanted().offset, begin_of(range));
  const std::uint64_t last_sure = request.samples.at_or_before(range.confirmed);
  range.broken.forget_comparison();
  const std::uint64_t had = range.next;
  go_back(range, is_refused ? begin : std::max(begin, last_sure));
  if (had == range.next) return;  // none of its bytes had to be taken back
  range.broken.add({request.wanted().offset, range.next, request.samples.from(range.next)});
}

// Everything from `to` on, or from a little before, is read again.
void NetworkReader::go_back(PendingRange& range, std::uint64_t to) {
  range.writer = nullptr;
  if (to == range.next) return;
  while (!range.staged.empty() && range.staged.back()->chunk().offset >= to)
    range.staged.pop_back();
  if (!range.staged.empty() && range.staged.back()->chunk().end() > to)
    to = range.staged.back()->take_back(to);
  while (!range.crcs.empty() && landing_.plan().chunks()[range.crcs.back().chunk].offset >= to)
    range.crcs.pop_back();
  if (!range.crcs.empty() && landing_.plan().chunks()[range.crcs.back().chunk].end() > to)
    range.crcs.back().is_lost = true;
  range.is_unquiet = landing_.is_for_device(chunk_at(range, 0));
  add(counters_.bytes_discarded, range.next - to);
  range.next = range.confirmed = to;
  if (range.cache_run) range.cache_run->take_back(to);
  range.piece_begin = range.piece_end = 0;
  while (range.filled_chunks > range.landed_chunks &&
         chunk_at(range, range.filled_chunks - 1).end() > to)
    --range.filled_chunks;
  // A request beyond `to` cannot bring what is missing; and while copies of wrong bytes may still
  // be in progress, nothing may be written.
  for (const auto& other : requests_) {
    if (other->range == &range && (other->position > to || range.is_unquiet)) end_request(*other);
  }
}

// Where the chunks that were not handed over begin.
std::uint64_t NetworkReader::begin_of(const PendingRange& range) const {
  return chunk_at(range, range.landed_chunks).offset;
}

const Object& NetworkReader::object_of(const PendingRange& range) const {
  return *objects_[range.object].object;
}

}  // namespace streamer::core::inline engine
