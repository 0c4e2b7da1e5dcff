// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where the bytes of a load land: the memory of the plan's places, how far it may be filled, how
// much of each item is there, the queue of complete items, and the load's failure. It is all that
// sources see of a load. Has no threads of its own; outlives the sources, and lives until the Load
// and every yielded tensor have released it.

#include <algorithm>
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
#include "engine/mapped_files.hpp"
#include "engine/notes.hpp"
#include "engine/plan.hpp"
#include "engine/process_share.hpp"
#include "engine/ready_queue.hpp"
#include "engine/ready_signal.hpp"
#include "engine/tensor_countdown.hpp"
#include "engine/window.hpp"
#include "gpu/device_memory.hpp"
#include "memory/arena.hpp"

namespace streamer::core::inline engine {

// The memory of the plan's places.
struct LoadMemory {
  Arena arena;
  // By memory of the plan; the host's is nullptr. Each is allocated before a segment of its device
  // can be taken.
  std::vector<std::unique_ptr<DeviceMemory>> devices;
  ElasticWindow::Limits elastic = {};             // for the arena, if the plan cuts it into blocks
  std::unique_ptr<MappedFiles> mapped = nullptr;  // of which items are views; nullptr: none
};

// What threads of sources wait in, other than windows.
class StopListener {
 public:
  // Any thread: wakes waiting threads, which then check whether the load has stopped.
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
  // It outlives the sources' threads, and must be unset (nullptr) before it ends.
  void set_stop_listener(StopListener* listener) noexcept { stop_listener_ = listener; }
  // For a source that waits in its own epoll: woken when a window moved or the load stopped. Must
  // live as long as the landing.
  Result<WakeFd*> add_wake();
  // For a source that blocks where only an operation can end it: one that ends with the load.
  Result<Operation*> open_operation();
  // As many threads of sources will run as there are counters (one or more), which outlive the
  // threads and the consumer. Items without bytes, and views of mapped files, are ready from here
  // on.
  void begin(const LoadCounters& counters, std::uint32_t threads);

  // ---- Sources: any of their threads, each with its own counters ----

  [[nodiscard]] const Plan& plan() const noexcept { return plan_; }
  [[nodiscard]] Notes& notes() noexcept { return notes_; }
  [[nodiscard]] static bool is_for_device(const Chunk& chunk) noexcept { return chunk.memory != 0; }
  // The address of a place; on a device, only once its memory is there.
  [[nodiscard]] std::byte* address(Place place) const noexcept {
    if (!place.in_arena) return reinterpret_cast<std::byte*>(place.value);
    std::byte* const base =
        place.memory == 0 ? memory_.arena.data() : memory_.devices[place.memory]->data();
    if (place.memory == 0 && elastic_) return base + elastic_->offset_of(place.value);
    return base + plan_.arena_offset(place);
  }
  // The same, before that many bytes are written there: memory of the load's own has its pages.
  [[nodiscard]] std::byte* room_at(Place place, std::uint64_t bytes) {
    std::byte* const at = address(place);
    if (place.in_arena && place.memory == 0 && memory_.arena.touch(at, bytes)) has_slow_pages();
    return at;
  }
  // The load's part of what the loads of the process share.
  [[nodiscard]] LoadShare& share() noexcept { return share_; }
  // Allocates the memory of all devices now.
  Result<void> allocate_devices() const;

  // Whether positions before `end` of the memory may be written. Once true it stays true.
  [[nodiscard]] bool admits(std::uint32_t memory, std::uint64_t end) const noexcept {
    if (memory != 0 || !elastic_) return windows_[memory]->admits(end);
    return elastic_->admits(end) || elastic_->advance(end, consumer_starves());
  }
  [[nodiscard]] bool admits(const Chunk& chunk) const noexcept {
    return admits(chunk.memory, chunk.position_end);
  }
  // The number of window moves: read it before admits(), and pass it on if that said no.
  [[nodiscard]] std::uint64_t window_moves() const noexcept {
    // acquire: pairs with the release in release_item(): a thread that sees the move also sees the
    // moved window.
    return window_moves_.load(std::memory_order_acquire);
  }
  [[nodiscard]] bool has_moved_since(std::uint64_t moves) const noexcept {
    return window_moves() != moves;
  }
  // Sleeps until a window has moved since `moves` was read, or the load has stopped.
  void wait_for_window(ReaderCounters& mine, std::uint64_t moves) noexcept;
  // When a thread that waits for a window looks again without being woken, so that the consumer
  // learns if other loads keep all memory; nullopt if only a move helps.
  [[nodiscard]] std::optional<SteadyTime> looks_again_at() const noexcept;
  // The same in two steps, for a thread that sleeps elsewhere in between: on an armed WakeFd.
  void begins_to_wait(ReaderCounters& mine, std::uint64_t moves) noexcept;
  void has_waited(ReaderCounters& mine, std::int64_t began_ns) noexcept;

  [[nodiscard]] bool is_capped() const noexcept {
    return throttle_.is_on() || share_.process().is_capped();
  }
  // When so many bytes may be requested. Only if bandwidth is capped.
  [[nodiscard]] SteadyTime reserve(std::uint64_t bytes, SteadyTime now) noexcept {
    return std::max(throttle_.reserve(bytes, now), share_.process().reserve(bytes, now));
  }
  // Sleeps until then. False if the load stopped in the meantime.
  bool wait_for_bandwidth(std::uint64_t bytes, ReaderCounters& mine);

  // Something that no longer can be stopped may still write to the places: their memory is not used
  // for anything else as long as the process lives.
  void keep_for_good() noexcept { is_kept_.store(true, std::memory_order_relaxed); }
  [[nodiscard]] bool is_kept() const noexcept { return is_kept_.load(std::memory_order_relaxed); }

  // Once per chunk, after its bytes are in host memory where they belong.
  void chunk_landed(const Chunk& chunk, ReaderCounters& mine);
  // The same, with the CRC of its bytes: see crc_of().
  void summed_chunk_landed(const Chunk& chunk, std::uint64_t crc, ReaderCounters& mine);
  // Once per piece of an item, where the plan has no chunks, after its bytes are where they belong.
  void item_landed(std::uint32_t item, ReaderCounters& mine);
  // The last byte has landed. Not needed where the plan has chunks, which show it.
  void finish() noexcept;

  // The CRC that is wanted of the chunk's bytes, one piece after the other; nullopt: none.
  [[nodiscard]] std::optional<ChecksumKind> crc_of(const Chunk& chunk) const noexcept {
    return integrity_ ? integrity_->crc_of(chunk) : std::nullopt;
  }
  [[nodiscard]] bool verifies() const noexcept { return integrity_ != nullptr; }
  // Once per chunk of a device, before the last of its bytes leave the host: false if they failed
  // verification, and so the load.
  [[nodiscard]] bool verify_crc(const Chunk& chunk, std::uint64_t crc);
  // The last bytes of a chunk of a device have left the host. To be called before the thread can
  // begin to wait for a window.
  void chunk_left_host() noexcept;
  // As chunk_landed(), for a chunk of a device; called by a reader or the device's copier.
  void device_chunk_landed(const Chunk& chunk, ReaderCounters& mine);

  // Any thread. The first failure becomes the load's, and the sources stop.
  void fail(Error error);
  [[nodiscard]] bool is_stopped() const noexcept {
    // acquire: pairs with the release in fail().
    return stopped_.load(std::memory_order_acquire);
  }

  // ---- The load ----

  // That many threads of sources have ended, or never began.
  void threads_ended(std::uint32_t threads) noexcept;
  [[nodiscard]] bool has_threads() const noexcept {
    // acquire: pairs with the release in threads_ended().
    return threads_running_.load(std::memory_order_acquire) != 0;
  }
  // The failure, once the load has stopped.
  [[nodiscard]] Error failure() const;
  [[nodiscard]] const LoadMemory& memory() const noexcept { return memory_; }
  // The bytes of the host's arena that were ever used.
  [[nodiscard]] std::uint64_t used_arena_bytes() const noexcept {
    return elastic_ ? elastic_->touched_bytes() : memory_.arena.bytes();
  }
  // How far sources may run ahead of the consumer in the memory; 0: without limit.
  [[nodiscard]] std::uint64_t window_bytes(std::uint32_t memory) const noexcept {
    if (memory == 0 && elastic_) return elastic_->ahead_bytes();
    return plan_.memories()[memory].ring_bytes;
  }
  [[nodiscard]] const Integrity* integrity() const noexcept { return integrity_.get(); }
  [[nodiscard]] const Notes& notes() const noexcept { return notes_; }
  // Steady clock time at which the last byte landed; 0: not yet.
  [[nodiscard]] std::int64_t finished_ns() const noexcept {
    return finished_ns_.load(std::memory_order_relaxed);
  }

  // ---- The one consumer ----

  // The next complete item, in the order in which they become complete.
  std::optional<std::uint32_t> take_ready() noexcept { return ready_.pop(); }
  [[nodiscard]] bool has_ready() const noexcept { return ready_.has_ready(); }
  [[nodiscard]] bool is_whole(std::uint32_t item) const noexcept {
    return countdowns_[item].is_complete();
  }
  // Whether host memory that is cut into blocks has no memory for the next one within its limit.
  [[nodiscard]] bool is_host_full() const { return elastic_ && elastic_->is_full(); }
  // Whether its own limit leaves room, but other loads hold the memory that it would take.
  [[nodiscard]] bool waits_for_other_loads() const {
    return elastic_ && share_.is_refused() && !elastic_->is_full();
  }
  // True if every remaining thread waits for a window that is closed to it, and nothing that was
  // read is still on its way.
  [[nodiscard]] bool is_stuck() const noexcept;
  // Before an item is handed out. Fails with object_changed if its file did.
  Result<void> hold_item(std::uint32_t item) {
    if (!memory_.mapped) return {};
    return memory_.mapped->hold(item);
  }
  // An item has been handed out.
  void item_yielded(std::uint32_t item) noexcept;
  // relaxed: a hint.
  void set_consumer_waits(bool waits) noexcept {
    consumer_waits_.store(waits, std::memory_order_relaxed);
  }
  // Instead of waiting: gives its memory to one more huge page of what readers are about to write,
  // which would cost them as much as the bytes do. False if all has it.
  bool touch_ahead();
  // Changes when an item became ready, a thread went to sleep or ended, or the load stopped.
  [[nodiscard]] ReadySignal& news() noexcept { return news_; }

  // ---- Holders of an item's memory ----

  // Any thread, once per item: its memory may be written again.
  void release_item(std::uint32_t item) noexcept;

 private:
  // Counts down the chunk's items and hands over those that are complete.
  void hand_over(const Chunk& chunk, ReaderCounters& mine);
  void push_ready(std::span<const std::uint32_t> items) noexcept;
  void has_slow_pages();
  void windows_moved() noexcept;
  // Whether the consumer waits, and not just because it has not been woken yet: no complete item is
  // there for it.
  [[nodiscard]] bool consumer_starves() const noexcept {
    return consumer_waits_.load(std::memory_order_relaxed) &&
           items_waiting_.load(std::memory_order_relaxed) == 0;
  }
  // Wakes every sleeping thread, because a window moved or the load stopped.
  void wake_sources() noexcept;

  const Plan plan_;
  LoadMemory memory_;

  std::vector<std::unique_ptr<Window>> windows_;  // by memory of the plan
  const std::unique_ptr<ElasticWindow> elastic_;  // of the host instead, if that is in blocks
  std::atomic<bool> consumer_waits_{false};
  std::atomic<std::uint32_t> items_waiting_{0};  // whole, and not yet yielded
  std::uint64_t touched_ahead_ = 0;              // of the arena; the consumer's
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

  std::atomic<bool> is_kept_{false};
  std::atomic<bool> stopped_{false};
  Operation operation_;  // over when the load stopped
  mutable Guarded<std::optional<Error>> failure_;
  StopListener* stop_listener_ = nullptr;
  Notes notes_;
  std::unique_ptr<Integrity> integrity_;  // nullptr: nothing is verified
  LoadShare share_;  // last: wakes sources, and so is gone before what they sleep on
};

}  // namespace streamer::core::inline engine
