// SPDX-License-Identifier: Apache-2.0
#pragma once
// The path of a load's bytes to devices. For each device: pinned segments that readers fill, a
// copier that empties them, and the device memory that it fills. A segment contains bytes of one
// chunk; a chunk has landed once it was read to its end and all of its segments were copied.

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/landing.hpp"
#include "gpu/device_copier.hpp"
#include "gpu/pinned_segments.hpp"

namespace streamer::core::inline engine {

class Staging final : private StopListener {
 public:
  struct Options {
    std::uint32_t segments = 128;  // of each device, at least 2
    std::uint64_t segment_bytes = 2 * kMiB;
    std::uint32_t streams = 1;
    Device consumer_device = {};  // whose stream consumer_stream is
    GpuStream consumer_stream = nullptr;
  };

  // For the devices that the plan names. landing must outlive this object, which listens to it
  // until it is destroyed.
  static Result<std::unique_ptr<Staging>> make(Landing& landing, const Options& options);
  // Starts preparing the devices in the background. From here on the load may fail, so the landing
  // must be set up before.
  Result<void> start();
  // Requires that all readers have ended. Waits for copies in progress; keeps the segments for the
  // next load.
  ~Staging();

  // ---- Readers ----

  // A segment of the chunk's device; nullopt if none is free.
  std::optional<std::uint32_t> try_take(const Chunk& chunk) noexcept;
  // Waits for one; nullopt if the load has stopped. The calling thread must hold no unsubmitted
  // segment, or all readers may wait for each other.
  std::optional<std::uint32_t> take(const Chunk& chunk, ReaderCounters& mine) noexcept;
  void give_back(const Chunk& chunk, std::uint32_t segment) noexcept;
  [[nodiscard]] std::byte* data(const Chunk& chunk, std::uint32_t segment) const noexcept;
  [[nodiscard]] std::uint64_t segment_bytes() const noexcept { return segment_bytes_; }

  // Makes the chunk's device current on the calling thread, which must be one of the load's own.
  Result<void> use_device(const Chunk& chunk);

  // Passes the segment to the copier. Must come before end_of().
  void submit(const Chunk& chunk, std::uint32_t segment, std::vector<DeviceCopy> copies,
              ReaderCounters& mine) noexcept;
  // Nothing more will be submitted for the chunk.
  void end_of(const Chunk& chunk, ReaderCounters& mine) noexcept;

  // Whether all submitted segments of the chunk have been copied. Only before end_of().
  [[nodiscard]] bool is_quiet(const Chunk& chunk) const noexcept {
    // acquire: pairs with the copier's release when it has copied.
    return left_[chunk.number].load(std::memory_order_acquire) == 1;
  }

  // Whether the chunk's pieces are so small and many that it is better to lay them out as on the
  // device before they are copied.
  [[nodiscard]] static bool needs_gathering(const Chunk& chunk) noexcept;

  // ---- Any thread ----

  // Adds what the copiers counted.
  void add_to(LoadStats& stats) const;
  // Host memory in all segments.
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
  // By chunk: segments that have not been copied yet, plus one until end_of().
  const std::unique_ptr<std::atomic<std::uint32_t>[]> left_;
  const LoadCounters counters_;               // of the copiers, by memory of the plan
  std::vector<std::unique_ptr<Lane>> lanes_;  // by memory of the plan; the host's is nullptr
};

}  // namespace streamer::core::inline engine
