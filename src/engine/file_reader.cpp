// SPDX-License-Identifier: Apache-2.0
#include "engine/file_reader.hpp"

#include <fmt/format.h>

#include <utility>

#include "base/fits_in_memory.hpp"

namespace streamer::core::inline engine {

FileReader::FileReader(Landing& landing, Staging* staging, FileSet& files, ChunkQueue& chunks,
                       const LoadSettings& settings, std::uint64_t buffer_bytes,
                       ReaderCounters& mine)
    : landing_(landing),
      staging_(staging),
      files_(files),
      chunks_(chunks),
      counters_(mine),
      file_io_(settings.get(setting::kFileIo)),
      bounce_(mine),
      direct_(landing, staging, settings, mine, bounce_, buffer_bytes) {}

FileReader::~FileReader() = default;

// The thread's life: claim, start and finish chunks until none is left and none is in flight.
void FileReader::run() {
  // Allocated in advance: there may be no memory for it when it is needed.
  Error out_of_memory(ErrorKind::out_of_memory, "not enough memory for a reader's buffers");
  const bool fits = fits_in_memory([&] {
    while (!landing_.is_stopped() && (!all_claimed_ || direct_.in_flight() != 0))
      step();
  });
  if (!fits) landing_.fail(std::move(out_of_memory));
  // After a stop: reads in flight still write to memory that will be reused.
  while (direct_.in_flight() != 0) {
    const auto done = direct_.take_done(true);
    if (done && done->staged.segment) staging_->give_back(done->chunk, *done->staged.segment);
  }
  if (claimed_) drop_segment(*claimed_);
  clock_.count(counters_);
}

// One turn: starts the claimed chunk if it may, then takes one finished read. Blocks in one place
// at a time, and only if there is nothing to start: in a read if some are in flight, else on the
// window.
void FileReader::step() {
  if (!claimed_ && !all_claimed_) {
    if (const auto claimed = chunks_.claim()) {
      claimed_ = landing_.plan().chunks()[*claimed];
    } else {
      all_claimed_ = true;
    }
  }
  // Read before the window is asked, so that a move in between is noticed.
  const std::uint64_t moves = landing_.window_moves();
  const bool starts = claimed_ && may_start(*claimed_);
  if (starts) {
    const Chunk chunk = *std::exchange(claimed_, std::nullopt);
    start(chunk);
    drop_segment(chunk);
  }
  if (direct_.in_flight() != 0) {
    // Waits only if no other chunk could be started.
    if (auto done = direct_.take_done(!starts)) {
      finish(done->chunk, *done->file, std::move(done->outcome), done->staged);
    }
  } else if (claimed_) {
    landing_.wait_for_window(counters_, moves);
  }
}

// The order matters: a segment is taken last, so that no chunk holds one while its window is shut.
bool FileReader::may_start(const Chunk& chunk) {
  if (!direct_.has_room_for(chunk) || !landing_.admits(chunk)) return false;
  return !landing_.is_for_device(chunk) || has_way_to_device(chunk);
}

// Takes the segment that the chunk is read into. A reader must not wait for a segment while its
// direct reads hold some, or all segments could be held by readers that wait.
bool FileReader::has_way_to_device(const Chunk& chunk) {
  const std::uint32_t segments = direct_.segments_in_flight();
  if (Staging::needs_gathering(chunk)) return segments == 0;
  // Other chunks in flight still have to be gathered, which may wait for segments.
  if (segments != direct_.in_flight()) return false;
  if (!segment_) segment_ = staging_->try_take(chunk);
  if (!segment_ && segments == 0) segment_ = staging_->take(chunk, counters_);
  return segment_.has_value();
}

// Returns the segment if it was not passed on.
void FileReader::drop_segment(const Chunk& chunk) {
  if (segment_) staging_->give_back(chunk, *segment_);
  segment_.reset();
}

// Chooses the way of one chunk: straight to the device, by a direct read, or through the page
// cache, where its bytes may already be.
void FileReader::start(const Chunk& chunk) {
  if (landing_.is_capped() && !landing_.wait_for_bandwidth(chunk.size, counters_)) return;
  auto file = file_of(chunk);
  if (!file) return landing_.fail(std::move(file).error());
  const OpenFile& open = **file;
  const bool may_be_direct = open.direct && !open.direct_is_refused.load(std::memory_order_relaxed);
  // Asked for each chunk, because a file may be cached in part.
  const Cached cached = may_be_direct && file_io_ == FileIo::direct
                            ? Cached::not_all
                            : ask_page_cache(open.buffered.get(), {chunk.offset, chunk.size});
  if (may_be_direct && cached == Cached::not_all) {
    if (may_read_past_host(chunk, open) && read_past_host(chunk, open)) return;
    auto submitted = direct_.submit(chunk, *std::move(file), segment_);
    if (!submitted) return landing_.fail(std::move(submitted).error());
    segment_.reset();
    return;
  }
  landing_.is_for_device(chunk) ? read_for_device(chunk, open, cached)
                                : read_buffered(chunk, open, cached);
}

bool FileReader::may_read_past_host(const Chunk& chunk, const OpenFile& file) const {
  // Having a segment implies that the device's memory is allocated. Bytes must pass through the
  // host if they are checked on the way, or may overwrite memory that the consumer's stream still
  // reads.
  return file.past_host != nullptr && segment_ &&
         !file.past_host_is_refused.load(std::memory_order_relaxed) && !landing_.crc_of(chunk) &&
         landing_.plan().memories()[chunk.memory].ring_bytes == 0;
}

// False if it failed and the chunk must be read another way.
bool FileReader::read_past_host(const Chunk& chunk, const OpenFile& file) {
  auto outcome = staging_->use_device(chunk);
  landing_.plan().for_each_piece(chunk, chunk.offset, [&](const Piece& piece) {
    if (outcome)
      outcome = file.past_host->read(landing_.address(piece.place), piece.offset, piece.size);
  });
  if (!outcome) {
    file.past_host_is_refused.store(true, std::memory_order_relaxed);
    landing_.notes().add(
        fmt::format("GPUDirect Storage could not read {} ({}): reading through host memory",
                    file.object->uri.text(), outcome.error().message()));
    return false;
  }
  add(counters_.bytes_direct, chunk.size);
  add(counters_.bytes_past_host, chunk.size);
  auto pinned = file.pinned.check(file.buffered.get());
  if (!pinned) {
    landing_.fail(std::move(pinned).error());
    return true;
  }
  staging_->end_of(chunk, counters_);
  files_.chunk_landed(chunk.object);
  clock_.count(counters_);
  return true;
}

// Chunks of one file follow each other: most of them find the file open.
Result<std::shared_ptr<const OpenFile>> FileReader::file_of(const Chunk& chunk) {
  if (!last_file_ || last_object_ != chunk.object) {
    last_file_ = TRY(files_.open(chunk.object));
    last_object_ = chunk.object;
  }
  return last_file_;
}

void FileReader::read_buffered(const Chunk& chunk, const OpenFile& file, Cached cached) {
  auto outcome = read_chunk(landing_, chunk, file, bounce_, counters_);
  add(cached == Cached::all ? counters_.bytes_page_cache : counters_.bytes_buffered, chunk.size);
  finish(chunk, file, std::move(outcome), {});
}

// Read densely, as it lies in the file: deliver() takes it apart. Into the segment if there is one,
// which saves a copy; else the pieces are too small and are gathered from the bounce buffer.
void FileReader::read_for_device(const Chunk& chunk, const OpenFile& file, Cached cached) {
  DenseBytes staged{.offset = chunk.offset, .segment = std::exchange(segment_, std::nullopt)};
  std::byte* to = nullptr;
  if (staged.segment) {
    to = staging_->data(chunk, *staged.segment);
  } else {
    const auto bytes = bounce_.get(chunk.size);
    if (!bytes) return landing_.fail(bytes.error().copy());
    to = bytes->data();
    add(counters_.bytes_bounced, chunk.size);
  }
  staged.data = to;
  auto outcome = read_chunk_to(to, chunk, file, counters_);
  add(cached == Cached::all ? counters_.bytes_page_cache : counters_.bytes_buffered, chunk.size);
  finish(chunk, file, std::move(outcome), staged);
}

void FileReader::finish(const Chunk& chunk, const OpenFile& file, Result<void> outcome,
                        const DenseBytes& staged) {
  // Checked after the read: either the bytes are the pinned version's, or they are not handed over.
  if (outcome) outcome = file.pinned.check(file.buffered.get());
  if (!outcome) {
    if (staged.segment) staging_->give_back(chunk, *staged.segment);
    return landing_.fail(std::move(outcome).error());
  }
  if (landing_.is_for_device(chunk)) {
    deliver(*staging_, landing_, chunk, staged, counters_);
  } else {
    landing_.chunk_landed(chunk, counters_);
  }
  files_.chunk_landed(chunk.object);
  clock_.count(counters_);
}

}  // namespace streamer::core::inline engine
