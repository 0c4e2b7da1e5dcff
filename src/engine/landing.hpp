// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where the bytes of a load land: the memory of the plan's places, how far it may be filled, how
// much of each item is there, the queue of items that are whole, and how it all ends. All that
// sources get of a load. Has no threads of its own; outlives the sources, and lives until the Load
// and every yielded tensor let go of it.

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/event_count.hpp"
#include "base/guarded.hpp"
#include "base/operation.hpp"
#include "base/throttle.hpp"
#include "base/wake_fd.hpp"
#include "engine/counters.hpp"
#include "engine/elastic_window.hpp"
#include "engine/integrity.hpp"
#include "engine/notes.hpp"
#include "engine/plan.hpp"
#include "engine/ready_queue.hpp"
#include "engine/ready_signal.hpp"
#include "engine/tensor_countdown.hpp"
#include "engine/window.hpp"
#include "gpu/device_memory.hpp"
#include "memory/arena.hpp"

namespace streamer::core {

// Memory that the plan's places are in.
struct LoadMemory {
  Arena arena;
  // By memory of the plan; the host's is nullptr. What they hold is there once a segment of their
  // device was to be had.
  std::vector<std::unique_ptr<DeviceMemory>> devices;
  ElasticWindow::Limits elastic = {};  // of the arena, if the plan cuts it into blocks
};

// In what threads of sources wait beside windows.
class StopListener {
 public:
  // Any thread: whoever waits looks whether the load stopped.
  virtual void load_stopped() noexcept = 0;

 protected:
  ~StopListener() = default;
};

class Landing {
 public:
  Landing(Plan plan, LoadMemory memory, std::uint64_t bandwidth_bytes_per_s);
  Landing(const Landing&) = delete;
  Landing& operator=(const Landing&) = delete;
  ~Landing();

  // ---- Before the threads of sources run; by the thread that starts the load ----

  void verify_by(std::unique_ptr<Integrity> integrity) noexcept;
  // Outlives the sources' threads, and is taken away (nullptr) before it ends.
  void set_stop_listener(StopListener* listener) noexcept { stop_listener_ = listener; }
  // For a source that waits in an epoll of its own: woken when a window moved or the load stopped.
  // Lives as long as this.
  Result<WakeFd*> add_wake();
  // For a source that blocks in what only an operation ends: one that is over when the load is.
  Result<Operation*> open_operation();
  // As many threads of sources will run, each with counters of its own (one or more), which outlive
  // them and the consumer. Items without bytes are ready from here on.
  void begin(const LoadCounters& counters, std::uint32_t threads);

  // ---- Sources: any of their threads, each with its own counters ----

  [[nodiscard]] const Plan& plan() const noexcept { return plan_; }
  [[nodiscard]] Notes& notes() noexcept { return notes_; }
  [[nodiscard]] static bool is_for_device(const Chunk& chunk) noexcept { return chunk.memory != 0; }
  // The address of a place, of a device once its memory is there.
  [[nodiscard]] std::byte* address(Place place) const noexcept {
    if (!place.in_arena) return reinterpret_cast<std::byte*>(place.value);
    std::byte* const base =
        place.memory == 0 ? memory_.arena.data() : memory_.devices[place.memory]->data();
    if (place.memory == 0 && elastic_) return base + elastic_->offset_of(place.value);
    return base + plan_.arena_offset(place);
  }
  // Makes the memory of all devices be there now.
  Result<void> allocate_devices() const;

  // May positions before `end` of the memory be written? Once true it stays true.
  [[nodiscard]] bool admits(std::uint32_t memory, std::uint64_t end) const noexcept {
    if (memory != 0 || !elastic_) return windows_[memory]->admits(end);
    return elastic_->admits(end) || elastic_->advance(end, consumer_starves());
  }
  [[nodiscard]] bool admits(const Chunk& chunk) const noexcept {
    return admits(chunk.memory, chunk.position_end);
  }
  // How often windows moved: to be asked before admits(), and told when it said no.
  [[nodiscard]] std::uint64_t window_moves() const noexcept {
    // acquire: pairs with the release in release_item(): who sees the move finds the window moved.
    return window_moves_.load(std::memory_order_acquire);
  }
  [[nodiscard]] bool has_moved_since(std::uint64_t moves) const noexcept {
    return window_moves() != moves;
  }
  // Sleeps until a window moved since there were `moves`, or the load stopped.
  void wait_for_window(ReaderCounters& mine, std::uint64_t moves) noexcept;
  // The same in two steps, for who sleeps elsewhere meanwhile: with a WakeFd that is armed.
  void begins_to_wait(ReaderCounters& mine, std::uint64_t moves) noexcept;
  void has_waited(ReaderCounters& mine, std::int64_t began_ns) noexcept;

  [[nodiscard]] bool is_capped() const noexcept { return throttle_.is_on(); }
  // When so many bytes may be asked for. Only if it is capped.
  [[nodiscard]] SteadyTime reserve(std::uint64_t bytes, SteadyTime now) noexcept {
    return throttle_.reserve(bytes, now);
  }
  // Sleeps until then. False if the load stopped meanwhile.
  bool wait_for_bandwidth(std::uint64_t bytes, ReaderCounters& mine);

  // Once per chunk, after its bytes are in host memory where they belong.
  void chunk_landed(const Chunk& chunk, ReaderCounters& mine);
  // The same, with the CRC of its bytes: see crc_of().
  void summed_chunk_landed(const Chunk& chunk, std::uint64_t crc, ReaderCounters& mine);
  // Once per piece of an item, where the plan has no chunks, after its bytes are where they belong.
  void item_landed(std::uint32_t item, ReaderCounters& mine);
  // The last byte landed; where the plan has chunks, that is found out by itself.
  void finish() noexcept;

  // The CRC that is wanted of the chunk's bytes, one piece after the other; nullopt: none is.
  [[nodiscard]] std::optional<ChecksumKind> crc_of(const Chunk& chunk) const noexcept {
    return integrity_ ? integrity_->crc_of(chunk) : std::nullopt;
  }
  [[nodiscard]] bool verifies() const noexcept { return integrity_ != nullptr; }
  // Once per chunk of a device, before the last of its bytes leave the host: whether they may be
  // handed over as far as they are verified; if not, the load failed.
  [[nodiscard]] bool verify_crc(const Chunk& chunk, std::uint64_t crc);
  // The last bytes of a chunk of a device left the host. Before the thread can begin to wait for a
  // window.
  void chunk_left_host() noexcept;
  // As chunk_landed(), for a chunk of a device; by a reader or the device's copier.
  void device_chunk_landed(const Chunk& chunk, ReaderCounters& mine);

  // The first failure of a load is the load's; the sources stop. Any thread.
  void fail(Error error);
  [[nodiscard]] bool is_stopped() const noexcept {
    // acquire: pairs with the release in fail().
    return stopped_.load(std::memory_order_acquire);
  }

  // ---- The load ----

  // So many threads of sources ended, or never began.
  void threads_ended(std::uint32_t threads) noexcept;
  [[nodiscard]] bool has_threads() const noexcept {
    // acquire: pairs with the release in threads_ended().
    return threads_running_.load(std::memory_order_acquire) != 0;
  }
  // The failure, once it stopped.
  [[nodiscard]] Error failure() const;
  [[nodiscard]] const LoadMemory& memory() const noexcept { return memory_; }
  // Of the host's arena, as much as was ever used.
  [[nodiscard]] std::uint64_t used_arena_bytes() const noexcept {
    return elastic_ ? elastic_->touched_bytes() : memory_.arena.bytes();
  }
  // How far sources may run ahead of the consumer in the memory; 0: as far as they like.
  [[nodiscard]] std::uint64_t window_bytes(std::uint32_t memory) const noexcept {
    if (memory == 0 && elastic_) return elastic_->ahead_bytes();
    return plan_.memories()[memory].ring_bytes;
  }
  [[nodiscard]] const Integrity* integrity() const noexcept { return integrity_.get(); }
  [[nodiscard]] const Notes& notes() const noexcept { return notes_; }
  // Steady clock, when the last byte landed; 0: it did not.
  [[nodiscard]] std::int64_t finished_ns() const noexcept {
    return finished_ns_.load(std::memory_order_relaxed);
  }

  // ---- The one consumer ----

  // The next item that is whole, as they come.
  std::optional<std::uint32_t> take_ready() noexcept { return ready_.pop(); }
  [[nodiscard]] bool has_ready() const noexcept { return ready_.has_ready(); }
  [[nodiscard]] bool is_whole(std::uint32_t item) const noexcept {
    return countdowns_[item].is_complete();
  }
  // Whether host memory that gets blocks has none for the next one, within its limit.
  [[nodiscard]] bool is_host_full() const { return elastic_ && elastic_->is_full(); }
  // True if every thread that is left waits for a window that is shut to it, and nothing that was
  // read is on its way any more.
  [[nodiscard]] bool is_stuck() const noexcept;
  // An item was handed out.
  void item_yielded(std::uint32_t item) noexcept;
  // relaxed: a hint.
  void set_consumer_waits(bool waits) noexcept {
    consumer_waits_.store(waits, std::memory_order_relaxed);
  }
  // Moves when an item became ready, a thread went to sleep or ended, or the load stopped.
  [[nodiscard]] ReadySignal& news() noexcept { return news_; }

  // ---- Whoever holds an item's memory ----

  // Any thread, once per item: its memory may be written again.
  void release_item(std::uint32_t item) noexcept;

 private:
  // Counts down the chunk's items and hands over those that are whole.
  void hand_over(const Chunk& chunk, ReaderCounters& mine);
  void push_ready(std::span<const std::uint32_t> items) noexcept;
  void windows_moved() noexcept;
  // It waits, and not because it was not woken yet: all that is ahead of it is still to come.
  [[nodiscard]] bool consumer_starves() const noexcept {
    return consumer_waits_.load(std::memory_order_relaxed) &&
           items_waiting_.load(std::memory_order_relaxed) == 0;
  }
  // Wakes every thread that sleeps: a window moved, or the load stopped.
  void wake_sources() noexcept;

  const Plan plan_;
  LoadMemory memory_;

  std::vector<std::unique_ptr<Window>> windows_;  // by memory of the plan
  const std::unique_ptr<ElasticWindow> elastic_;  // of the host instead, if that is in blocks
  std::atomic<bool> consumer_waits_{false};
  std::atomic<std::uint32_t> items_waiting_{0};  // whole, and not yet yielded
  EventCount window_moved_;
  std::atomic<std::uint64_t> window_moves_{0};
  std::vector<std::unique_ptr<WakeFd>> wakes_;
  Throttle throttle_;

  const std::unique_ptr<TensorCountdown[]> countdowns_;  // by item
  ReadyQueue ready_;
  ReadySignal news_;
  std::atomic<std::uint32_t> chunks_left_;
  std::atomic<std::uint32_t> chunks_on_the_way_{0};  // left the host, and not yet on their device
  std::atomic<std::int64_t> finished_ns_{0};

  const LoadCounters* counters_ = nullptr;  // of the sources' threads
  std::uint32_t threads_ = 0;
  std::atomic<std::uint32_t> threads_running_{0};

  std::atomic<bool> stopped_{false};
  Operation operation_;  // over when the load stopped
  mutable Guarded<std::optional<Error>> failure_;
  StopListener* stop_listener_ = nullptr;
  Notes notes_;
  std::unique_ptr<Integrity> integrity_;  // nullptr: nothing is verified
};

}  // namespace streamer::core
