// SPDX-License-Identifier: Apache-2.0
#pragma once
// Bytes of one chunk that come in the object's order, laid in segments as the device shall have
// them, so that a segment takes one copy even where it holds many tensors.

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
  StagedChunk(Staging& staging, LoadCore& core, const Chunk& chunk, ReaderCounters& mine);
  // Gives back what was not submitted.
  ~StagedChunk();
  StagedChunk(const StagedChunk&) = delete;
  StagedChunk& operator=(const StagedChunk&) = delete;

  // before_waiting is called if there is no segment, and must flush() every other StagedChunk of
  // the thread.
  void put(Place place, std::string_view bytes, const std::function<void()>& before_waiting);
  // Submits what is there.
  void flush() noexcept;
  // All bytes of the chunk were put. Verifies and ends it, unless the load stopped meanwhile.
  void finish();

  [[nodiscard]] const Chunk& chunk() const noexcept { return chunk_; }

 private:
  bool take_segment(const std::function<void()>& before_waiting);
  std::size_t append(Place place, std::string_view bytes);

  Staging& staging_;
  LoadCore& core_;
  const Chunk& chunk_;
  ReaderCounters& counters_;
  const std::optional<ChecksumKind> crc_kind_;
  std::uint64_t crc_ = 0;
  std::optional<std::uint32_t> segment_;
  std::uint64_t used_ = 0;  // of the segment
  std::vector<DeviceCopy> copies_;
  CopyJoiner joiner_;
  bool is_lost_ = false;  // the load stopped before all bytes were put
};

}  // namespace streamer::core
