// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the readers, the consumer and the yielded tensors of one load share. Has no threads; lives
// until the Load and every yielded tensor let go of it.

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/event_count.hpp"
#include "base/guarded.hpp"
#include "base/operation.hpp"
#include "base/throttle.hpp"
#include "base/wake_fd.hpp"
#include "checkpoint/checkpoint.hpp"
#include "device/arena.hpp"
#include "device/device_memory.hpp"
#include "engine/chunk_queue.hpp"
#include "engine/integrity.hpp"
#include "engine/load.hpp"
#include "engine/notes.hpp"
#include "engine/plan.hpp"
#include "engine/ready_queue.hpp"
#include "engine/ready_signal.hpp"
#include "engine/stats.hpp"
#include "engine/tensor_countdown.hpp"
#include "engine/window.hpp"

namespace streamer::core {

// What one reader counts, and what the others see of its state.
struct ReaderCounters : ReaderStats {
  std::atomic<std::uint64_t> connections{0};
  std::atomic<std::uint64_t> wall_ns{0};
  std::atomic<bool> uses_io_uring{false};
  // While the reader waits for a window: how often windows had moved when it last looked, and one
  // more. 0: it does not wait.
  std::atomic<std::uint64_t> waits_since{0};
};

// Which chunks are whose, and how many readers there are for them.
struct ReaderShares {
  std::vector<std::uint32_t> file_chunks;
  std::vector<std::uint32_t> network_chunks;
  std::uint32_t file_readers = 0;
  std::uint32_t network_readers = 0;
};

class Staging;

struct LoadCore {
  // device_memories: by memory of the plan; the host's is nullptr.
  LoadCore(std::shared_ptr<const Checkpoint> checkpoint_in, std::vector<PlanRequest> requests_in,
           Plan plan_in, Arena arena_in,
           std::vector<std::unique_ptr<DeviceMemory>> device_memories_in,
           std::uint64_t bandwidth_bytes_per_s, ReaderShares shares);

  // Immutable after construction.
  const std::shared_ptr<const Checkpoint> checkpoint;
  const std::vector<PlanRequest> requests;
  const Plan plan;
  const Arena arena;
  // What they hold is there once a segment of their device was to be had.
  const std::vector<std::unique_ptr<DeviceMemory>> device_memories;
  const std::unordered_map<std::uint32_t, std::vector<std::uint64_t>> part_shapes;  // by request

  // The byte path.
  ChunkQueue file_chunks;
  ChunkQueue network_chunks;
  std::vector<std::unique_ptr<Window>> windows;  // by memory of the plan
  EventCount window_moved;
  std::atomic<std::uint64_t> window_moves{0};
  const std::unique_ptr<WakeFd[]> network_wakes;  // by reader; those of files have none
  ReadyQueue ready;
  ReadySignal ready_or_stuck;  // an item became ready, a reader went to sleep, or the load stopped
  Staging* staging = nullptr;  // of the Load, while its readers run; nullptr: no device
  std::atomic<std::uint32_t> chunks_in_staging{0};  // read, and not yet where they belong
  Throttle throttle;
  const std::unique_ptr<TensorCountdown[]> countdowns;  // by item
  const std::unique_ptr<TensorLease[]> leases;          // by item
  const std::unique_ptr<ReaderCounters[]> counters;     // by reader, then by memory's copier
  const std::uint32_t readers;                          // of both kinds; those of files come first
  const std::uint32_t network_readers;
  std::atomic<std::uint32_t> readers_running;
  std::atomic<std::uint64_t> buffer_bytes{0};  // of the readers of files, all that they ever held
  std::atomic<std::uint32_t> chunks_left;
  std::atomic<std::int64_t> finished_ns{0};  // steady clock, when the last chunk landed

  // How it ends.
  std::atomic<bool> stopped{false};
  Operation operation;  // over when the load stopped: for what readers block in but reads
  Guarded<std::optional<Error>> failure;
  Notes notes;
  std::unique_ptr<Integrity> integrity;  // nullptr: nothing is verified; set before readers start

  // Any thread. The first failure of a load is the load's; the readers stop.
  void fail(Error error);
  [[nodiscard]] bool is_stopped() const noexcept { return stopped.load(std::memory_order_acquire); }

  // Wakes every reader that sleeps: the window moved, or the load stopped.
  void wake_readers() noexcept;
  // Opens what network readers sleep on.
  Result<void> open_wakes();

  // Any reader. May the chunk's bytes be written to its memory? Once true it stays true.
  [[nodiscard]] bool admits(const Chunk& chunk) const noexcept {
    return windows[chunk.memory]->admits(chunk.position_end);
  }
  [[nodiscard]] bool is_for_device(const Chunk& chunk) const noexcept { return chunk.memory != 0; }
  // A reader that found everything shut to it says that it waits: moves is what window_moves was
  // before it looked.
  void begins_to_wait(ReaderCounters& mine, std::uint64_t moves) noexcept;
  [[nodiscard]] bool has_moved_since(std::uint64_t moves) const noexcept {
    // acquire: pairs with the release in release_item().
    return window_moves.load(std::memory_order_acquire) != moves;
  }

  // Any reader, once per chunk, after its bytes are in host memory where they belong.
  void chunk_landed(const Chunk& chunk, ReaderCounters& mine);
  // The same, with the CRC of its bytes: see Integrity::crc_of().
  void summed_chunk_landed(const Chunk& chunk, std::uint64_t crc, ReaderCounters& mine);
  // A reader, once per chunk of a device, before the last of its bytes leave the host: whether they
  // may be handed over as far as they are verified; if not, the load failed. crc: see
  // Integrity::crc_of().
  [[nodiscard]] bool verify_crc(const Chunk& chunk, std::uint64_t crc);
  // As chunk_landed(), for a chunk of a device.
  void staged_chunk_landed(const Chunk& chunk, ReaderCounters& mine);
  // A feeder, once per piece of an item, after its bytes are where they belong.
  void item_landed(std::uint32_t item, ReaderCounters& mine);
  // Sleeps until the window moved since it was `moves`, or the load stopped.
  void wait_for_window(ReaderCounters& mine, std::uint64_t moves) noexcept;
  // The last byte landed.
  void finish() noexcept;
  // The one consumer. True if every reader that is left waits for a window that is shut to it, and
  // nothing that was read is on its way any more.
  [[nodiscard]] bool is_stuck() const noexcept;

  // The address of a place, of a device once its memory is there.
  [[nodiscard]] std::byte* address(Place place) const noexcept {
    if (!place.in_arena) return reinterpret_cast<std::byte*>(place.value);
    std::byte* const base =
        place.memory == 0 ? arena.data() : device_memories[place.memory]->data();
    return base + plan.arena_offset(place);
  }

  // Holders: the Load, and each item, from the start until it was released.
  void let_go(std::uint32_t holders) noexcept;
  void release_item(std::uint32_t item) noexcept;

 private:
  void release_place(std::uint32_t item) noexcept;
  // Counts down the chunk's items and hands over those that are whole.
  void hand_over(const Chunk& chunk, ReaderCounters& mine);

  std::atomic<std::uint32_t> holders_;
};

}  // namespace streamer::core
