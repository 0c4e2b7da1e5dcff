// SPDX-License-Identifier: Apache-2.0
#pragma once
// A thread that claims chunks and reads them from files: cached chunks from the page cache, others
// past it, with several direct reads in flight.

#include <cstdint>
#include <memory>
#include <optional>

#include "engine/chunk_queue.hpp"
#include "engine/direct_reads.hpp"
#include "engine/file_set.hpp"
#include "engine/landing.hpp"
#include "engine/load_settings.hpp"
#include "engine/page_cache.hpp"
#include "engine/reader_clock.hpp"
#include "engine/staged_chunk.hpp"

namespace streamer::core::inline engine {

class FileReader {
 public:
  // All must outlive the reader. staging: nullptr without a device. chunks: the queue that it
  // shares with the other file readers. buffer_bytes: the limit for its buffers.
  FileReader(Landing& landing, Staging* staging, FileSet& files, ChunkQueue& chunks,
             const LoadSettings& settings, std::uint64_t buffer_bytes, ReaderCounters& mine);
  ~FileReader();

  // The thread's body: returns once no chunk is left or the load has stopped, with nothing in
  // flight.
  void run();

 private:
  void step();
  void start(const Chunk& chunk);
  bool may_start(const Chunk& chunk);
  bool has_way_to_device(const Chunk& chunk);
  void drop_segment(const Chunk& chunk);
  Result<std::shared_ptr<const OpenFile>> file_of(const Chunk& chunk);
  void read_buffered(const Chunk& chunk, const OpenFile& file, Cached cached);
  bool may_read_past_host(const Chunk& chunk, const OpenFile& file) const;
  bool read_past_host(const Chunk& chunk, const OpenFile& file);
  void read_for_device(const Chunk& chunk, const OpenFile& file, Cached cached);
  void finish(const Chunk& chunk, const OpenFile& file, Result<void> outcome,
              const DenseBytes& staged);

  Landing& landing_;
  Staging* const staging_;
  FileSet& files_;
  ChunkQueue& chunks_;
  ReaderCounters& counters_;
  const FileIo file_io_;

  std::shared_ptr<const OpenFile> last_file_;
  std::uint32_t last_object_ = 0;
  std::optional<Chunk> claimed_;          // not started yet
  std::optional<std::uint32_t> segment_;  // taken for it
  bool all_claimed_ = false;
  const ReaderClock clock_;
  PageBuffer bounce_;
  DirectReads direct_;
};

}  // namespace streamer::core::inline engine
