// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a load will read: requests laid out in order, their bytes cut into chunks. Immutable, pure.
//
// Arena items lie on a line of positions that only grows; the host and each device have their own
// line. A position means one of three things:
// - an arena as long as the line: byte p of it;
// - a ring: byte p % ring_bytes of it. An item never wraps round the ring's end: it is moved to the
//   next lap instead;
// - blocks, on the host: the line is cut into them between items, and each gets its memory while
//   the load runs (elastic_window.hpp).

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "checkpoint/tensor_table.hpp"
#include "engine/plan_request.hpp"

namespace streamer::core::inline engine {

// The memory of the host or of one device.
struct PlanMemory {
  Device device = {};
  std::uint64_t ring_bytes = 0;  // 0: no ring
  std::uint64_t arena_bytes = 0;
};

// Positions [begin, end) of the host's line, and the items in them. begin is on a page.
struct Block {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t item_bytes = 0;
  std::uint32_t items = 0;  // that have bytes; one at least

  // The memory it needs, in whole pages.
  [[nodiscard]] std::uint64_t bytes() const noexcept { return round_up(end - begin, kPageBytes); }
};

// Where bytes land: a position on the line of a memory's arena, or an address: of the caller's
// memory, or of a mapped file, in which they are from the beginning.
struct Place {
  std::uint64_t value = 0;
  std::uint32_t memory = 0;  // in Plan::memories()
  bool in_arena = true;

  [[nodiscard]] Place plus(std::uint64_t bytes) const noexcept {
    return {value + bytes, memory, in_arena};
  }
};

// One request; items are in the order in which the load reads.
struct PlanItem {
  std::uint64_t bytes = 0;
  Place place;
  std::uint32_t request = 0;
  std::uint32_t chunks = 0;  // how many it waits for, or pieces of an ordered source
};

// Bytes of an object that land densely at one place: count runs, each stride_bytes after the one
// before. A dense range is one run, and may cover many items that are neighbours in the object.
struct Extent {
  std::uint64_t offset = 0;  // in the object
  std::uint64_t run_bytes = 0;
  std::uint64_t stride_bytes = 0;
  Place place;
  std::uint32_t count = 1;
  std::uint32_t first_item = 0;
  std::uint32_t last_item = 0;

  [[nodiscard]] std::uint64_t end() const noexcept {
    return offset + stride_bytes * (count - 1) + run_bytes;
  }
  [[nodiscard]] std::uint64_t total_bytes() const noexcept { return run_bytes * count; }
};

// One read request: bytes [offset, offset + size) of an object, some of which may be unwanted. All
// wanted bytes land in one memory.
struct Chunk {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  std::uint64_t position_end = 0;  // it writes positions below this; 0 if none
  std::uint32_t memory = 0;        // in Plan::memories()
  std::uint32_t number = 0;        // in Plan::chunks()
  std::uint32_t object = 0;
  std::uint32_t first_extent = 0;
  std::uint32_t last_extent = 0;
  std::uint32_t first_item = 0;
  std::uint32_t last_item = 0;
  std::uint32_t pieces = 0;

  [[nodiscard]] std::uint64_t end() const noexcept { return offset + size; }
};

// A part of a chunk that lands at one place.
struct Piece {
  std::uint64_t offset = 0;  // in the object
  std::uint64_t size = 0;
  Place place;
};

// A request and the bytes of its object that it wants.
struct Wanted {
  StridedRange range;
  std::uint32_t request = 0;
  std::uint32_t object = 0;
  std::uint32_t element_bytes = 1;
  std::uint32_t memory = 0;  // in ReadingList::memories
};

// What a load needs of one memory.
struct MemoryNeed {
  Device device = {};
  // The largest item that needs memory of the library.
  std::uint64_t largest_bytes = 0;
  std::uint32_t largest_tensor = 0;
};

// Requests in the order in which they will be read.
struct ReadingList {
  std::vector<Wanted> wanted;
  std::vector<MemoryNeed> memories = {MemoryNeed{}};  // the host's comes first
};

// Orders requests by priority, object and offset, or as given. Fails as requested_bytes() does.
Result<ReadingList> make_reading_list(const TensorTable& tensors,
                                      std::span<const PlanRequest> requests, bool in_request_order);

struct PlanOptions {
  std::uint64_t chunk_bytes = 2 * kMiB;
  std::uint64_t coalesce_gap_bytes = 16 * kKiB;
  std::uint64_t tensor_alignment_bytes = 0;  // 0: the size of the tensor's element
  std::uint64_t window_bytes = 0;            // of host memory; 0: no limit
  // If not 0, host memory is cut into blocks of this size, or of one larger item, and has no ring.
  std::uint64_t block_bytes = 0;
  // For each device:
  std::uint64_t device_window_bytes = 0;  // 0: no limit
  std::uint64_t device_alignment_bytes = 512;
  std::uint64_t staged_chunk_bytes = 2 * kMiB;  // no chunk for a device is larger
  // By object: the address that its byte 0 has in a mapping of it, 0 for those without one. Dense
  // items of the library's host memory are then views of it. Empty: none has one.
  std::span<const std::uint64_t> mapped_origins = {};
  // If given: in how many pieces each item of the list lands; nothing is then cut into chunks.
  std::optional<std::span<const std::uint32_t>> pieces = std::nullopt;
};

class Plan {
 public:
  // list must be the reading list of requests. A window, if any, must be at least as large as the
  // largest item of its memory.
  static Plan make(const ReadingList& list, std::span<const PlanRequest> requests,
                   const PlanOptions& options);

  [[nodiscard]] std::span<const PlanItem> items() const noexcept { return items_; }
  [[nodiscard]] std::span<const Chunk> chunks() const noexcept { return chunks_; }
  // The host's comes first, then the devices' in the order of the reading list.
  [[nodiscard]] std::span<const PlanMemory> memories() const noexcept { return memories_; }
  // The blocks of the host's line, in order; empty if it is not cut into blocks.
  [[nodiscard]] std::span<const Block> blocks() const noexcept { return blocks_; }
  [[nodiscard]] std::uint64_t wanted_bytes() const noexcept { return wanted_bytes_; }

  // Calls visit(const Piece&) for each part of the chunk from the object's byte `from` on, in the
  // order of the object.
  template <typename Visit>
  void for_each_piece(const Chunk& chunk, std::uint64_t from, Visit&& visit) const {
    for_each_piece(chunk, from, chunk.end(), std::forward<Visit>(visit));
  }
  // The same, up to the object's byte `until`.
  template <typename Visit>
  void for_each_piece(const Chunk& chunk, std::uint64_t from, std::uint64_t until,
                      Visit&& visit) const;

  // The piece that contains the object's byte `at`, from there on; nullopt if that byte is
  // unwanted.
  [[nodiscard]] std::optional<Piece> piece_at(const Chunk& chunk, std::uint64_t at) const noexcept;
  [[nodiscard]] std::uint64_t largest_chunk_bytes() const noexcept;

  // The offset of a place in its memory's arena. Only for places in an arena, not in blocks.
  [[nodiscard]] std::uint64_t arena_offset(Place place) const noexcept {
    const std::uint64_t ring_bytes = memories_[place.memory].ring_bytes;
    return ring_bytes == 0 ? place.value : place.value % ring_bytes;
  }

 private:
  friend class PlanLayout;
  friend class ChunkCutter;

  std::vector<PlanItem> items_;
  std::vector<Extent> extents_;
  std::vector<Chunk> chunks_;
  std::vector<PlanMemory> memories_;
  std::vector<Block> blocks_;
  std::uint64_t wanted_bytes_ = 0;
};

template <typename Visit>
void Plan::for_each_piece(const Chunk& chunk, std::uint64_t from, std::uint64_t until,
                          Visit&& visit) const {
  from = std::max(from, chunk.offset);
  until = std::min(until, chunk.end());
  for (std::uint32_t index = chunk.first_extent; index <= chunk.last_extent; ++index) {
    const Extent& extent = extents_[index];
    const std::uint64_t begin = std::max(from, extent.offset);
    const std::uint64_t end = std::min(until, extent.end());
    if (begin >= end) continue;
    for (std::uint64_t run = (begin - extent.offset) / extent.stride_bytes; run < extent.count;
         ++run) {
      const std::uint64_t run_offset = extent.offset + run * extent.stride_bytes;
      const std::uint64_t piece_begin = std::max(begin, run_offset);
      const std::uint64_t piece_end = std::min(end, run_offset + extent.run_bytes);
      if (run_offset >= end) break;
      if (piece_begin >= piece_end) continue;  // begins in the gap behind this run
      const std::uint64_t within = run * extent.run_bytes + (piece_begin - run_offset);
      visit(Piece{.offset = piece_begin,
                  .size = piece_end - piece_begin,
                  .place = extent.place.plus(within)});
    }
  }
}

}  // namespace streamer::core::inline engine
