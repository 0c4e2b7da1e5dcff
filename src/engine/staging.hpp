// SPDX-License-Identifier: Apache-2.0
#pragma once
// The way of a load's bytes to devices. For each device: pinned segments that readers fill, a
// copier that empties them, and memory that it fills. A segment holds bytes of one chunk; a chunk
// has landed once it was read to its end and all of its segments were copied.

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/landing.hpp"
#include "gpu/device_copier.hpp"
#include "gpu/pinned_segments.hpp"

namespace streamer::core {

class Staging final : private StopListener {
 public:
  struct Options {
    std::uint32_t segments = 128;  // of each device, at least 2
    std::uint64_t segment_bytes = 2 * kMiB;
    std::uint32_t streams = 1;
    Device consumer_device = {};  // whose stream consumer_stream is
    GpuStream consumer_stream = nullptr;
  };

  // For the devices that the plan names. landing must outlive this, which listens to it until it
  // ends.
  static Result<std::unique_ptr<Staging>> make(Landing& landing, const Options& options);
  // Starts to prepare the devices, in the background. From here on the load may fail: whatever is
  // set up in the landing was set up before.
  Result<void> start();
  // No reader may be left. Waits for copies under way; keeps the segments for the next load.
  ~Staging();

  // ---- Readers ----

  // A segment of the chunk's device; nullopt if there is none now.
  std::optional<std::uint32_t> try_take(const Chunk& chunk) noexcept;
  // Waits for one; nullopt if the load stopped. Whoever waits must hold none that is not submitted,
  // or all may wait for each other.
  std::optional<std::uint32_t> take(const Chunk& chunk, ReaderCounters& mine) noexcept;
  void give_back(const Chunk& chunk, std::uint32_t segment) noexcept;
  [[nodiscard]] std::byte* data(const Chunk& chunk, std::uint32_t segment) const noexcept;
  [[nodiscard]] std::uint64_t segment_bytes() const noexcept { return segment_bytes_; }

  // Makes the chunk's device the current one of the calling thread, which must be the load's own.
  Result<void> use_device(const Chunk& chunk);

  // Passes the segment on to the copier. Before end_of().
  void submit(const Chunk& chunk, std::uint32_t segment, std::vector<DeviceCopy> copies,
              ReaderCounters& mine) noexcept;
  // Nothing more will be submitted for the chunk.
  void end_of(const Chunk& chunk, ReaderCounters& mine) noexcept;

  // Whether nothing of the chunk that was submitted is still to be copied. Before end_of().
  [[nodiscard]] bool is_quiet(const Chunk& chunk) const noexcept {
    // acquire: pairs with the copier's release when it has copied.
    return left_[chunk.number].load(std::memory_order_acquire) == 1;
  }

  // Whether the chunk's pieces are so small and many that they had better be laid anew, as the
  // device shall have them, before they are copied.
  [[nodiscard]] static bool needs_gathering(const Chunk& chunk) noexcept;

  // ---- Anybody ----

  // What the copiers did.
  void add_to(LoadStats& stats) const;
  // Of host memory, in all segments.
  [[nodiscard]] std::uint64_t bytes() const noexcept;

 private:
  struct Lane;

  Staging(Landing& landing, const Options& options);
  void load_stopped() noexcept override;
  Result<void> open_lane(std::uint32_t memory);
  Result<void> start_copier(std::uint32_t memory);
  void one_less(const Chunk& chunk, ReaderCounters& mine) noexcept;

  Landing& landing_;
  const Options options_;
  const std::uint64_t segment_bytes_;
  // By chunk: segments that were not copied yet, and one more until end_of().
  const std::unique_ptr<std::atomic<std::uint32_t>[]> left_;
  const LoadCounters counters_;               // of the copiers, by memory of the plan
  std::vector<std::unique_ptr<Lane>> lanes_;  // by memory of the plan; the host's is nullptr
};

}  // namespace streamer::core
