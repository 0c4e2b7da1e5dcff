// SPDX-License-Identifier: Apache-2.0
#pragma once
// Bytes of one chunk that arrive in the object's order, laid out in segments as they will be on the
// device, so that a segment takes one copy even if it contains many tensors. Bytes that turn out
// not to be the object's are taken back.

#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "base/checksum.hpp"
#include "engine/copy_joiner.hpp"
#include "engine/staging.hpp"

namespace streamer::core::inline engine {

class StagedChunk {
 public:
  StagedChunk(Staging& staging, Landing& landing, const Chunk& chunk, ReaderCounters& mine);
  // Returns a segment that was not submitted.
  ~StagedChunk();
  StagedChunk(const StagedChunk&) = delete;
  StagedChunk& operator=(const StagedChunk&) = delete;

  // before_waiting is called if no segment is free, and must flush() every other StagedChunk of the
  // thread.
  void put(Place place, std::string_view bytes, const std::function<void()>& before_waiting);
  // Submits the current segment.
  void flush() noexcept;
  // All bytes of the chunk have been put, and all are the object's. Verifies and ends it, unless
  // the load has stopped.
  void finish();

  // Marks that the next put continues at the object's byte `offset`, where it may have to be
  // resumed later.
  void mark(std::uint64_t offset);
  // Takes back what was put since the last mark at or before `offset`, and returns that mark's
  // offset. Segments submitted since then may still be on their way to the places of the right
  // bytes: put() must wait until Staging::is_quiet().
  std::uint64_t take_back(std::uint64_t offset);

  [[nodiscard]] const Chunk& chunk() const noexcept { return chunk_; }

 private:
  // The state when put() was about to continue at `offset`.
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

// Bytes of a chunk from the object's byte `offset` on, in the object's layout: in a segment of the
// thread, which is passed on, or in separate memory.
struct DenseBytes {
  const std::byte* data = nullptr;
  std::uint64_t offset = 0;
  std::optional<std::uint32_t> segment;
};

// Sends the whole chunk to its device and ends it. The thread must hold no other segment.
void deliver(Staging& staging, Landing& landing, const Chunk& chunk, const DenseBytes& bytes,
             ReaderCounters& mine);

}  // namespace streamer::core::inline engine
