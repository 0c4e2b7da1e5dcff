// SPDX-License-Identifier: Apache-2.0
#include "engine/plan.hpp"

#include <numeric>
#include <optional>

namespace streamer::core::inline engine {

namespace {

// Spans of at least this size are placed so that file offset and address are congruent modulo a
// page, which lets direct reads land in place. Below it, packing saves more than a bounce costs.
constexpr std::uint64_t kCongruentSpanBytes = 64 * kKiB;
// Items that cannot be laid out as in the file are packed at this alignment: a cache line.
constexpr std::uint64_t kPackedAlignment = 64;
// A chunk of a ring takes at most this share of it, so that reading and consuming overlap.
constexpr std::uint64_t kChunksPerRing = 4;

std::uint32_t element_bytes(Dtype dtype) {
  const std::uint32_t bits = dtype_row(dtype).bits;
  return bits % 8 == 0 ? bits / 8 : 1;
}

bool comes_before(const Wanted& a, const Wanted& b) {
  if (a.object != b.object) return a.object < b.object;
  if (a.range.offset != b.range.offset) return a.range.offset < b.range.offset;
  return a.range.total_bytes() < b.range.total_bytes();
}

// The number of the device's memory, which is added if it is new.
std::uint32_t memory_of(Device device, std::vector<MemoryNeed>& memories) {
  const auto found = std::find_if(memories.begin(), memories.end(),
                                  [&](const MemoryNeed& m) { return m.device == device; });
  if (found == memories.end()) {
    memories.push_back({.device = device});
    return static_cast<std::uint32_t>(memories.size() - 1);
  }
  return static_cast<std::uint32_t>(found - memories.begin());
}

}  // namespace

Result<ReadingList> make_reading_list(const TensorTable& tensors,
                                      std::span<const PlanRequest> requests,
                                      bool in_request_order) {
  ReadingList list;
  list.wanted.reserve(requests.size());
  std::uint32_t memory = 0;
  for (std::uint32_t i = 0; i < requests.size(); ++i) {
    const PlanRequest& request = requests[i];
    const TensorView tensor = tensors[request.tensor];
    // Most requests are of whole tensors, for the same device as the one before.
    const StridedRange range =
        request.part == Part::whole ? whole_bytes(tensor) : TRY(requested_bytes(tensor, request));
    if (request.device != list.memories[memory].device)
      memory = memory_of(request.device, list.memories);
    list.wanted.push_back({range, i, tensor.object, element_bytes(tensor.dtype), memory});
    MemoryNeed& need = list.memories[memory];
    if (request.destination != nullptr || range.total_bytes() <= need.largest_bytes) continue;
    need.largest_bytes = range.total_bytes();
    need.largest_tensor = request.tensor;
  }
  if (in_request_order) return list;
  // Most lists are already in order, and checking is cheaper than sorting.
  auto& wanted = list.wanted;
  const auto is_before = [&](const Wanted& a, const Wanted& b) {
    const std::uint32_t of_a = requests[a.request].priority;
    const std::uint32_t of_b = requests[b.request].priority;
    return of_a != of_b ? of_a > of_b : comes_before(a, b);
  };
  const bool is_sorted = std::is_sorted(wanted.begin(), wanted.end(), is_before);
  if (!is_sorted) std::stable_sort(wanted.begin(), wanted.end(), is_before);
  return list;
}

// Gives every item its place and makes the extents.
class PlanLayout {
 public:
  // Places items into the rings of the plan's memories.
  PlanLayout(Plan& plan, std::span<const Wanted> wanted, std::span<const PlanRequest> requests,
             const PlanOptions& options)
      : plan_(plan),
        wanted_(wanted),
        requests_(requests),
        gap_bytes_(options.coalesce_gap_bytes),
        tensor_alignment_(options.tensor_alignment_bytes),
        device_alignment_(options.device_alignment_bytes),
        block_bytes_(options.block_bytes),
        mapped_origins_(options.mapped_origins),
        cursors_(plan.memories_.size()) {}

  // Returns the length of each memory's line.
  std::vector<std::uint64_t> run() {
    plan_.items_.clear();
    plan_.extents_.clear();
    plan_.blocks_.clear();
    plan_.items_.reserve(wanted_.size());
    for (std::size_t i = 0; i < wanted_.size();) {
      if (is_view(i)) {
        const std::uint64_t origin = mapped_origins_[wanted_[i].object];
        add_item(i, {origin + wanted_[i].range.offset, 0, false});
        ++i;
        continue;
      }
      if (!is_dense_in_host_arena(i)) {
        place_alone(i++);
        continue;
      }
      const std::size_t end = span_end(i);
      const std::uint64_t span_bytes = wanted_[end - 1].range.offset +
                                       wanted_[end - 1].range.total_bytes() -
                                       wanted_[i].range.offset;
      const bool congruent = span_bytes >= kCongruentSpanBytes && is_aligned(i);
      for (bool first = true; i < end; ++i, first = false)
        place_in_span(i, congruent, first);
    }
    return cursors_;
  }

 private:
  bool in_arena(std::size_t i) const {
    return requests_[wanted_[i].request].destination == nullptr;
  }
  // Of memory 0; on devices tensors are aligned more than files have them.
  std::uint64_t alignment(std::size_t i) const {
    return std::max<std::uint64_t>(wanted_[i].element_bytes, tensor_alignment_);
  }
  // Whether the item's offset in the file suits its alignment in memory.
  bool is_aligned(std::size_t i) const { return wanted_[i].range.offset % alignment(i) == 0; }
  bool is_dense_in_host_arena(std::size_t i) const {
    return wanted_[i].memory == 0 && in_arena(i) && wanted_[i].range.count == 1;
  }

  // Views of a mapped file need no place, and no chunk brings their bytes.
  bool is_view(std::size_t i) const {
    return !mapped_origins_.empty() && mapped_origins_[wanted_[i].object] != 0 &&
           is_dense_in_host_arena(i) && is_aligned(i) && wanted_[i].range.total_bytes() != 0;
  }

  // The first item from i on that cannot be laid out beside the one before as in the file.
  std::size_t span_end(std::size_t i) const {
    std::size_t end = i + 1;
    if (!is_aligned(i)) return end;
    for (; end < wanted_.size() && is_dense_in_host_arena(end); ++end) {
      const Wanted& before = wanted_[end - 1];
      const Wanted& next = wanted_[end];
      const std::uint64_t before_end = before.range.offset + before.range.total_bytes();
      if (next.object != before.object || next.range.offset < before_end ||
          next.range.offset - before_end > std::min(gap_bytes_, kPageBytes) || !is_aligned(end)) {
        break;
      }
    }
    return end;
  }

  void add_item(std::size_t i, Place place) {
    const std::uint64_t bytes = wanted_[i].range.total_bytes();
    plan_.items_.push_back({.bytes = bytes, .place = place, .request = wanted_[i].request});
    if (block_bytes_ == 0 || bytes == 0 || place.memory != 0 || !place.in_arena) return;
    Block& block = plan_.blocks_.back();
    block.end = place.value + bytes;
    block.item_bytes += bytes;
    ++block.items;
  }

  // Whether an item of so many bytes of the host's arena begins a block: the last one is large
  // enough, or this one would make it far larger than others.
  bool begins_block(std::uint64_t bytes) const {
    if (block_bytes_ == 0 || bytes == 0) return false;
    if (plan_.blocks_.empty()) return true;
    const Block& last = plan_.blocks_.back();
    return last.items != 0 && (last.end - last.begin >= block_bytes_ || bytes >= block_bytes_);
  }
  // The first position at which the host's item may lie.
  std::uint64_t begin_for(std::uint64_t bytes) {
    if (!begins_block(bytes)) return cursors_[0];
    const std::uint64_t begin = round_up(cursors_[0], kPageBytes);
    plan_.blocks_.push_back({.begin = begin, .end = begin});
    return begin;
  }

  // The lowest position of the memory, from `from` on, that is `residue` modulo unit and from which
  // bytes do not wrap.
  std::uint64_t fit(std::uint32_t memory, std::uint64_t from, std::uint64_t unit,
                    std::uint64_t residue, std::uint64_t bytes) const {
    std::uint64_t position = round_down(from, unit) + residue;
    if (position < from) position += unit;
    const std::uint64_t ring_bytes = plan_.memories_[memory].ring_bytes;
    if (ring_bytes != 0 && position % ring_bytes + bytes > ring_bytes) {
      position = lap_end(memory, position) + residue;
    }
    return position;
  }

  // The end of the ring's lap that contains position.
  std::uint64_t lap_end(std::uint32_t memory, std::uint64_t position) const {
    const std::uint64_t ring_bytes = plan_.memories_[memory].ring_bytes;
    return ring_bytes == 0 ? UINT64_MAX : (position / ring_bytes + 1) * ring_bytes;
  }

  // Places a dense item in the host's arena, beside the one before it if possible.
  void place_in_span(std::size_t i, bool congruent, bool first) {
    const StridedRange& range = wanted_[i].range;
    const auto item = static_cast<std::uint32_t>(i);
    std::uint64_t& cursor = cursors_[0];
    if (!first) {
      Extent& before = plan_.extents_.back();
      const std::uint64_t position = before.place.value + (range.offset - before.offset);
      const std::uint64_t end = position + range.run_bytes;
      if (end <= lap_end(0, before.place.value) && !begins_block(range.run_bytes)) {
        before.run_bytes = range.offset + range.run_bytes - before.offset;
        before.stride_bytes = before.run_bytes;
        before.last_item = item;
        cursor = end;
        add_item(i, {.value = position});
        return;
      }
    }
    const std::uint64_t unit = congruent ? kPageBytes : std::max(alignment(i), kPackedAlignment);
    // If the file aligns the item, so does memory; the same holds for those that follow in the
    // span.
    const std::uint64_t from = begin_for(range.run_bytes);
    const std::uint64_t position =
        fit(0, from, unit, is_aligned(i) ? range.offset % unit : 0, range.run_bytes);
    add_extent(item, range.offset, range, {.value = position}, 1);
    cursor = position + range.run_bytes;
    add_item(i, {.value = position});
  }

  // An item of the caller's memory or of a device's, a strided one, or one without bytes.
  void place_alone(std::size_t i) {
    const StridedRange& range = wanted_[i].range;
    const std::uint64_t bytes = range.total_bytes();
    const auto item = static_cast<std::uint32_t>(i);
    const std::uint32_t memory = wanted_[i].memory;
    Place place{reinterpret_cast<std::uintptr_t>(requests_[wanted_[i].request].destination), memory,
                false};
    if (in_arena(i)) {
      const std::uint64_t unit =
          memory == 0 ? std::max(alignment(i), kPackedAlignment)
                      : std::max<std::uint64_t>(wanted_[i].element_bytes, device_alignment_);
      std::uint64_t& cursor = cursors_[memory];
      if (memory == 0) cursor = begin_for(bytes);
      place = {bytes == 0 ? cursor : fit(memory, cursor, unit, 0, bytes), memory, true};
      cursor = place.value + bytes;
    }
    add_item(i, place);
    if (bytes == 0) return;
    if (range.count == 1 && extends_last_extent(i, place)) return;
    if (range.count == 1 || range.stride_bytes - range.run_bytes <= gap_bytes_) {
      add_extent(item, range.offset, range, place, range.count);
      return;
    }
    for (std::uint64_t run = 0; run < range.count; ++run) {
      add_extent(item, range.offset + run * range.stride_bytes, range,
                 place.plus(run * range.run_bytes), 1);
    }
  }

  // Neighbours in the file that are neighbours in memory too are one extent; but on a device each
  // of the caller's may be an allocation of its own.
  bool extends_last_extent(std::size_t i, Place place) {
    if (plan_.extents_.empty() || (place.memory != 0 && !place.in_arena)) return false;
    Extent& before = plan_.extents_.back();
    const StridedRange& range = wanted_[i].range;
    if (before.place.in_arena != place.in_arena || before.place.memory != place.memory ||
        before.count != 1 || before.end() != range.offset ||
        before.place.value + before.run_bytes != place.value ||
        wanted_[before.last_item].object != wanted_[i].object ||
        // A run of a strided item does not say where that item ends.
        wanted_[before.last_item].range.count != 1) {
      return false;
    }
    const bool is_on_next_lap =
        place.in_arena && place.value >= lap_end(place.memory, before.place.value);
    const bool is_first_of_block = place.in_arena && place.memory == 0 && !plan_.blocks_.empty() &&
                                   plan_.blocks_.back().items == 1;
    if (is_on_next_lap || is_first_of_block) return false;
    before.run_bytes += range.run_bytes;
    before.stride_bytes = before.run_bytes;
    before.last_item = static_cast<std::uint32_t>(i);
    return true;
  }

  void add_extent(std::uint32_t item, std::uint64_t offset, const StridedRange& range, Place place,
                  std::uint64_t count) {
    plan_.extents_.push_back({.offset = offset,
                              .run_bytes = range.run_bytes,
                              .stride_bytes = range.stride_bytes,
                              .place = place,
                              .count = static_cast<std::uint32_t>(count),
                              .first_item = item,
                              .last_item = item});
  }

  Plan& plan_;
  const std::span<const Wanted> wanted_;
  const std::span<const PlanRequest> requests_;
  const std::uint64_t gap_bytes_;
  const std::uint64_t tensor_alignment_;
  const std::uint64_t device_alignment_;
  const std::uint64_t block_bytes_;
  const std::span<const std::uint64_t> mapped_origins_;
  std::vector<std::uint64_t> cursors_;  // by memory: the end of what is laid so far
};

// Cuts extents into chunks.
class ChunkCutter {
 public:
  ChunkCutter(Plan& plan, std::span<const Wanted> wanted, const PlanOptions& options)
      : plan_(plan), wanted_(wanted), gap_bytes_(options.coalesce_gap_bytes) {
    for (const PlanMemory& memory : plan.memories_) {
      std::uint64_t bytes = options.chunk_bytes;
      if (memory.device != kHost) bytes = std::min(bytes, options.staged_chunk_bytes);
      if (memory.ring_bytes != 0) bytes = std::min(bytes, memory.ring_bytes / kChunksPerRing);
      chunk_bytes_.push_back(std::max(kPageBytes, round_down(bytes, kPageBytes)));
    }
  }

  void run() {
    for (std::uint32_t i = 0; i < plan_.extents_.size(); ++i)
      cut(i);
    close();
  }

 private:
  void cut(std::uint32_t index) {
    const Extent& extent = plan_.extents_[index];
    item_ = extent.first_item;
    for (std::uint64_t at = extent.offset; at < extent.end();) {
      if (!open_ || !continues(extent, at)) open(index, at);
      const std::uint64_t stop = stop_for(extent);
      if (stop <= at) {
        close();
        continue;
      }
      // A chunk ends with bytes that are wanted, and the next begins with some.
      const std::uint64_t run = (stop - 1 - extent.offset) / extent.stride_bytes;
      const std::uint64_t run_end = extent.offset + run * extent.stride_bytes + extent.run_bytes;
      take(index, at, std::min(stop, run_end));
      at = stop < run_end ? stop : extent.offset + (run + 1) * extent.stride_bytes;
      if (at < extent.end()) close();
    }
  }

  bool continues(const Extent& extent, std::uint64_t at) const {
    const Chunk& chunk = *open_;
    return chunk.object == wanted_[extent.first_item].object &&
           chunk.memory == extent.place.memory && at >= chunk.end() &&
           at - chunk.end() <= gap_bytes_ && at < limit() && is_in_block(extent.place);
  }

  // Whether the place is in the open chunk's block, if it has one: an item that waits for memory of
  // another block might wait for its own release.
  bool is_in_block(Place place) const {
    if (!place.in_arena || place.memory != 0 || !first_position_ || plan_.blocks_.empty())
      return true;
    const auto next = std::upper_bound(
        plan_.blocks_.begin(), plan_.blocks_.end(), *first_position_,
        [](std::uint64_t position, const Block& block) { return position < block.begin; });
    return next == plan_.blocks_.end() || place.value < next->begin;
  }

  // Where the open chunk must end: a page boundary of the object.
  std::uint64_t limit() const {
    return round_down(open_->offset + chunk_bytes_[open_->memory], kPageBytes);
  }

  // How far the open chunk may take the extent.
  std::uint64_t stop_for(const Extent& extent) const {
    std::uint64_t stop = std::min(extent.end(), limit());
    const std::uint64_t ring_bytes = plan_.memories_[extent.place.memory].ring_bytes;
    if (ring_bytes == 0 || !extent.place.in_arena || !first_position_) return stop;
    // A reader that waits for the chunk's first item must not wait for that item's own release: so
    // nothing reaches beyond one lap from where the item begins.
    const std::uint64_t lap_end = *first_position_ + ring_bytes;
    if (extent.place.value + extent.total_bytes() <= lap_end) return stop;
    if (extent.count != 1 || lap_end <= extent.place.value) return extent.offset;
    stop = std::min(stop, extent.offset + (lap_end - extent.place.value));
    return stop;
  }

  void open(std::uint32_t extent, std::uint64_t at) {
    close();
    open_ = Chunk{.offset = at,
                  .memory = plan_.extents_[extent].place.memory,
                  .object = wanted_[plan_.extents_[extent].first_item].object,
                  .first_extent = extent,
                  .last_extent = extent};
    first_position_.reset();
    const Extent& first = plan_.extents_[extent];
    skip_items_before(first, at);
    open_->first_item = item_;
    open_->last_item = item_;
    if (first.place.in_arena) first_position_ = plan_.items_[item_].place.value;
  }

  // Moves item_ to the item of the extent that wants the object's byte at, or the next one after
  // it.
  void skip_items_before(const Extent& extent, std::uint64_t at) {
    while (item_ < extent.last_item &&
           wanted_[item_].range.offset + wanted_[item_].range.run_bytes <= at) {
      ++item_;
    }
  }

  void take(std::uint32_t index, std::uint64_t at, std::uint64_t stop) {
    const Extent& extent = plan_.extents_[index];
    Chunk& chunk = *open_;
    if (extent.place.in_arena && !first_position_) {
      skip_items_before(extent, at);
      first_position_ = plan_.items_[item_].place.value;
    }
    chunk.size = stop - chunk.offset;
    chunk.last_extent = index;
    skip_items_before(extent, stop - 1);
    chunk.last_item = item_;
    const std::uint64_t first_run = (at - extent.offset) / extent.stride_bytes;
    const std::uint64_t last_run = (stop - 1 - extent.offset) / extent.stride_bytes;
    chunk.pieces += static_cast<std::uint32_t>(last_run - first_run + 1);
    if (!extent.place.in_arena) return;
    const std::uint64_t landed =
        std::min(extent.total_bytes(),
                 extent.count == 1 ? stop - extent.offset : (last_run + 1) * extent.run_bytes);
    chunk.position_end = std::max(chunk.position_end, extent.place.value + landed);
  }

  void close() {
    if (open_ && open_->size != 0) {
      for (std::uint32_t i = open_->first_item; i <= open_->last_item; ++i) {
        if (plan_.items_[i].bytes != 0) ++plan_.items_[i].chunks;
      }
      open_->number = static_cast<std::uint32_t>(plan_.chunks_.size());
      plan_.chunks_.push_back(*open_);
    }
    open_.reset();
  }

  Plan& plan_;
  const std::span<const Wanted> wanted_;
  const std::uint64_t gap_bytes_;
  std::vector<std::uint64_t> chunk_bytes_;  // by memory
  std::optional<Chunk> open_;
  std::optional<std::uint64_t> first_position_;  // of the open chunk's first arena item
  std::uint32_t item_ = 0;
};

Plan Plan::make(const ReadingList& list, std::span<const PlanRequest> requests,
                const PlanOptions& options) {
  Plan plan;
  const std::vector<Wanted>& wanted = list.wanted;
  for (const Wanted& want : wanted)
    plan.wanted_bytes_ += want.range.total_bytes();

  for (const MemoryNeed& need : list.memories)
    plan.memories_.push_back({.device = need.device});

  std::vector<std::uint64_t> lines = PlanLayout(plan, wanted, requests, options).run();
  bool has_ring = false;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    PlanMemory& memory = plan.memories_[i];
    const bool is_host = memory.device == kHost;
    const std::uint64_t host_window = options.block_bytes == 0 ? options.window_bytes : 0;
    const std::uint64_t window = is_host ? host_window : options.device_window_bytes;
    if (window == 0 || lines[i] <= window) continue;
    // More than the largest item, for where its first byte falls in its page.
    const std::uint64_t unit =
        is_host ? kPageBytes : std::max(kPageBytes, options.device_alignment_bytes);
    const std::uint64_t least = std::max(window, list.memories[i].largest_bytes);
    memory.ring_bytes = round_up(least, unit) + (is_host ? kPageBytes : 0);
    has_ring = true;
  }
  if (has_ring) lines = PlanLayout(plan, wanted, requests, options).run();
  for (std::size_t i = 0; i < lines.size(); ++i) {
    PlanMemory& memory = plan.memories_[i];
    memory.arena_bytes = memory.ring_bytes != 0 ? memory.ring_bytes : lines[i];
  }
  if (!options.pieces) {
    ChunkCutter(plan, wanted, options).run();
    return plan;
  }
  for (std::size_t i = 0; i < plan.items_.size(); ++i)
    plan.items_[i].chunks = (*options.pieces)[i];
  return plan;
}

std::optional<Piece> Plan::piece_at(const Chunk& chunk, std::uint64_t at) const noexcept {
  for (std::uint32_t index = chunk.first_extent; index <= chunk.last_extent; ++index) {
    const Extent& extent = extents_[index];
    if (at < extent.offset || at >= extent.end()) continue;
    const std::uint64_t run = (at - extent.offset) / extent.stride_bytes;
    const std::uint64_t run_offset = extent.offset + run * extent.stride_bytes;
    const std::uint64_t run_end = std::min(run_offset + extent.run_bytes, chunk.end());
    if (at >= run_end) return std::nullopt;  // in the gap behind the run
    const std::uint64_t within = run * extent.run_bytes + (at - run_offset);
    return Piece{.offset = at, .size = run_end - at, .place = extent.place.plus(within)};
  }
  return std::nullopt;
}

std::uint64_t Plan::largest_chunk_bytes() const noexcept {
  std::uint64_t largest = 0;
  for (const Chunk& chunk : chunks_)
    largest = std::max(largest, chunk.size);
  return largest;
}

}  // namespace streamer::core::inline engine
