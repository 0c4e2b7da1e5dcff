// SPDX-License-Identifier: Apache-2.0
#pragma once
// Bytes of one chunk that come in the object's order, laid in segments as the device shall have
// them, so that a segment takes one copy even where it holds many tensors. Bytes that turn out not
// to be the object's are taken back.

#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "base/checksum.hpp"
#include "engine/copy_joiner.hpp"
#include "engine/staging.hpp"

namespace streamer::core {

class StagedChunk {
 public:
  StagedChunk(Staging& staging, Landing& landing, const Chunk& chunk, ReaderCounters& mine);
  // Gives back what was not submitted.
  ~StagedChunk();
  StagedChunk(const StagedChunk&) = delete;
  StagedChunk& operator=(const StagedChunk&) = delete;

  // before_waiting is called if there is no segment, and must flush() every other StagedChunk of
  // the thread.
  void put(Place place, std::string_view bytes, const std::function<void()>& before_waiting);
  // Submits what is there.
  void flush() noexcept;
  // All bytes of the chunk were put, and all are the object's. Verifies and ends it, unless the
  // load stopped meanwhile.
  void finish();

  // Puts go on with the object's byte `offset` from here, and may have to go on there again.
  void mark(std::uint64_t offset);
  // Takes back what was put since the last mark at or before `offset`, and returns where that was.
  // What was passed on meanwhile may still be on its way to the places that the right bytes go to:
  // put() must wait until Staging::is_quiet().
  std::uint64_t take_back(std::uint64_t offset);

  [[nodiscard]] const Chunk& chunk() const noexcept { return chunk_; }

 private:
  // How things stood when put() was to go on with `offset`.
  struct Mark {
    std::uint64_t offset = 0;
    std::uint64_t crc = 0;
    std::uint32_t submissions = 0;
    std::uint64_t used = 0;
    std::size_t copies = 0;
    std::uint64_t last_copy_bytes = 0;
    CopyJoiner joiner;
  };

  bool take_segment(const std::function<void()>& before_waiting);
  std::size_t append(Place place, std::string_view bytes);

  Staging& staging_;
  Landing& landing_;
  const Chunk& chunk_;
  ReaderCounters& counters_;
  const std::optional<ChecksumKind> crc_kind_;
  std::uint64_t crc_ = 0;
  std::optional<std::uint32_t> segment_;
  std::uint64_t used_ = 0;  // of the segment
  std::vector<DeviceCopy> copies_;
  CopyJoiner joiner_;
  std::uint32_t submissions_ = 0;
  std::vector<Mark> marks_;  // the first is the chunk's beginning
  bool is_lost_ = false;     // the load stopped before all bytes were put
};

// Bytes of a chunk from the object's byte `offset` on, as the object has them: in a segment of the
// thread's, which passes on, or in memory of its own.
struct DenseBytes {
  const std::byte* data = nullptr;
  std::uint64_t offset = 0;
  std::optional<std::uint32_t> segment;
};

// Brings the whole chunk to its device, to its end. The thread must hold no other segment.
void deliver(Staging& staging, Landing& landing, const Chunk& chunk, const DenseBytes& bytes,
             ReaderCounters& mine);

}  // namespace streamer::core
