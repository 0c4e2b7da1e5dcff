// SPDX-License-Identifier: Apache-2.0
#pragma once
// The direct reads (O_DIRECT) that one reader has in flight: through io_uring, or one at a time
// where io_uring is not available.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/chunk_io.hpp"
#include "engine/file_set.hpp"
#include "engine/landing.hpp"
#include "engine/load_settings.hpp"
#include "engine/staged_chunk.hpp"

namespace streamer::core::inline engine {

// Whether this kernel and this build support io_uring; errno if not (ENOSYS without liburing).
[[nodiscard]] int probe_io_uring() noexcept;

// Of one reader. Pure.
[[nodiscard]] std::uint32_t most_direct_reads(const LoadSettings& settings,
                                              std::uint64_t chunk_bytes,
                                              std::uint64_t buffer_bytes);

class DirectReads {
 public:
  // The references must outlive this. staging: nullptr without a device. buffer_bytes: the limit
  // for its buffers and for spare, which it uses now and then, if that is two chunks or more.
  DirectReads(Landing& landing, Staging* staging, const LoadSettings& settings,
              ReaderCounters& counters, PageBuffer& spare, std::uint64_t buffer_bytes);
  // Requires that nothing is in flight.
  ~DirectReads();

  [[nodiscard]] bool has_room_for(const Chunk& chunk) const;
  [[nodiscard]] std::uint32_t in_flight() const noexcept { return in_flight_; }
  // Of those, how many land in a segment.
  [[nodiscard]] std::uint32_t segments_in_flight() const noexcept { return segments_in_flight_; }

  // Requires room for it. The read may be over before this returns; take_done() still reports it.
  // segment: where a chunk for a device lands, unless it is gathered; comes back in Done.
  Result<void> submit(const Chunk& chunk, std::shared_ptr<const OpenFile> file,
                      std::optional<std::uint32_t> segment);

  struct Done {
    Chunk chunk;
    std::shared_ptr<const OpenFile> file;
    Result<void> outcome;
    DenseBytes staged;  // of a chunk for a device, until the next call of submit()
  };
  // One finished read, its bytes in place or staged; waits for it if `wait`. Requires something in
  // flight.
  std::optional<Done> take_done(bool wait);

 private:
  friend int probe_io_uring() noexcept;
  struct Slot;
  struct Ring;

  void do_without_ring(int os_error);
  Result<void> prepare(Slot& slot);
  [[nodiscard]] std::byte* first_whole_page(const Chunk& chunk) const;
  [[nodiscard]] bool may_bounce(const Chunk& chunk) const;
  void lay_in_place(Slot& slot);
  PageBuffer& take_bounce(Slot& slot);
  int read_now(const Slot& slot) const;
  Done land(Slot& slot, int result);
  void adapt_depth(const Slot& slot);

  Landing& landing_;
  Staging* const staging_;
  ReaderCounters& counters_;
  PageBuffer& spare_;
  const std::uint32_t most_;          // of depth_
  const std::uint32_t most_bounced_;  // reads that do not land in place, in flight at once
  std::uint32_t depth_;               // reads that may be in flight at once
  std::uint32_t in_flight_ = 0;
  std::uint32_t segments_in_flight_ = 0;
  bool wants_ring_;  // for reads to come
  std::unique_ptr<Ring> ring_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<std::unique_ptr<PageBuffer>> bounces_;
  std::vector<PageBuffer*> free_bounces_;
};

}  // namespace streamer::core::inline engine
