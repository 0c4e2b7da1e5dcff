// SPDX-License-Identifier: Apache-2.0
#pragma once
// A thread that claims chunks and reads them from files: from the page cache where they are in it,
// past it otherwise, with several direct reads in flight.

#include <cstdint>
#include <memory>
#include <optional>

#include "engine/direct_reads.hpp"
#include "engine/file_set.hpp"
#include "engine/load_core.hpp"
#include "engine/staging.hpp"

namespace streamer::core {

class FileReader {
 public:
  // core and files must outlive the reader. number: which of the core's readers this is.
  // buffer_bytes: what its buffers may come to.
  FileReader(LoadCore& core, FileSet& files, const LoadSettings& settings, std::uint32_t number,
             std::uint64_t buffer_bytes);
  ~FileReader();

  // The thread's body: returns once no chunk is left or the load stopped, with nothing in flight.
  void run();

 private:
  void step();
  void start(const Chunk& chunk);
  bool may_start(const Chunk& chunk);
  bool has_way_to_device(const Chunk& chunk);
  void drop_segment(const Chunk& chunk);
  bool wait_for_bandwidth(const Chunk& chunk);
  Result<std::shared_ptr<const OpenFile>> file_of(const Chunk& chunk);
  void read_buffered(const Chunk& chunk, const OpenFile& file, Cached cached);
  bool may_read_past_host(const Chunk& chunk, const OpenFile& file) const;
  bool read_past_host(const Chunk& chunk, const OpenFile& file);
  void read_for_device(const Chunk& chunk, const OpenFile& file, Cached cached);
  void finish(const Chunk& chunk, const OpenFile& file, Result<void> outcome,
              const Staging::Dense& staged);
  void count_time();

  LoadCore& core_;
  FileSet& files_;
  ReaderCounters& counters_;
  const FileIo file_io_;

  std::shared_ptr<const OpenFile> last_file_;
  std::uint32_t last_object_ = 0;
  std::optional<Chunk> claimed_;          // not started yet
  std::optional<std::uint32_t> segment_;  // taken for it
  bool all_claimed_ = false;
  std::int64_t started_ns_ = 0;
  PageBuffer bounce_;
  DirectReads direct_;
};

}  // namespace streamer::core
