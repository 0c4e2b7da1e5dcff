// SPDX-License-Identifier: Apache-2.0
#pragma once
// Reads one chunk from an open file into place with ordinary reads.

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.hpp"
#include "engine/file_set.hpp"
#include "engine/landing.hpp"

namespace streamer::core::inline engine {

// Memory that starts and ends on pages, for reads that cannot land in place. Grows, never shrinks.
class PageBuffer {
 public:
  // Its size is counted in buffer_bytes of its thread.
  explicit PageBuffer(ReaderCounters& mine) : counters_(&mine) {}
  // At least bytes of memory; the content before is lost.
  Result<std::span<std::byte>> get(std::uint64_t bytes);

 private:
  ReaderCounters* counters_;
  Arena memory_;
};

// Whether the chunk's pieces are too small and many to be read one by one.
[[nodiscard]] bool needs_bounce(const Chunk& chunk) noexcept;

// Copies what the chunk wants from bytes, which are the object's bytes from `offset` on.
void scatter(Landing& landing, const Chunk& chunk, std::span<const std::byte> bytes,
             std::uint64_t offset);

// Reads the whole chunk into one piece of memory, as read_chunk() does.
Result<void> read_chunk_to(std::byte* to, const Chunk& chunk, const OpenFile& file,
                           ReaderCounters& counters);

// Blocks. Continues after short reads and EINTR; after EIO and ESTALE tries once more on a newly
// opened file, counted in retries. Fails with object_changed if the file ends before the chunk
// does.
Result<void> read_chunk(Landing& landing, const Chunk& chunk, const OpenFile& file,
                        PageBuffer& bounce, ReaderCounters& counters);

}  // namespace streamer::core::inline engine
