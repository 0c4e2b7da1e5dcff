// SPDX-License-Identifier: Apache-2.0
#include "engine/load_core.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "engine/reader_clock.hpp"
#include "engine/staging.hpp"

namespace streamer::core {

namespace {

std::unordered_map<std::uint32_t, std::vector<std::uint64_t>> shapes_of_parts(
    const TensorTable& tensors, const std::vector<PlanRequest>& requests) {
  std::unordered_map<std::uint32_t, std::vector<std::uint64_t>> shapes;
  for (std::uint32_t i = 0; i < requests.size(); ++i) {
    if (requests[i].part == Part::whole) continue;
    shapes.emplace(i, requested_shape(tensors[requests[i].tensor], requests[i]));
  }
  return shapes;
}

// Whether the item holds its window up until it is released.
bool holds_window(const PlanItem& item) {
  return item.place.in_arena && item.bytes != 0;
}

std::unique_ptr<Window> make_window(const Plan& plan, std::uint32_t memory) {
  const std::uint64_t ring_bytes = plan.memories()[memory].ring_bytes;
  // Where each item begins on the line; without a ring the window needs none.
  std::vector<std::uint64_t> positions;
  if (ring_bytes == 0) return std::make_unique<Window>(0, std::move(positions));
  const auto items = plan.items();
  const auto is_on_line = [&](const PlanItem& item) {
    return item.place.in_arena && item.place.memory == memory;
  };
  positions.reserve(items.size());
  std::uint64_t last = 0;
  for (const PlanItem& item : items) {
    if (is_on_line(item)) last = item.place.value;
    positions.push_back(last);
  }
  auto window = std::make_unique<Window>(ring_bytes, std::move(positions));
  // Nothing of the window is behind these; whoever holds them holds nobody up.
  for (std::uint32_t i = 0; i < items.size(); ++i) {
    if (!is_on_line(items[i]) || !holds_window(items[i])) window->release(i);
  }
  return window;
}

}  // namespace

LoadCore::LoadCore(std::shared_ptr<const Checkpoint> checkpoint_in,
                   std::vector<PlanRequest> requests_in, Plan plan_in, Arena arena_in,
                   std::vector<std::unique_ptr<DeviceMemory>> device_memories_in,
                   std::uint64_t bandwidth_bytes_per_s, ReaderShares shares)
    : checkpoint(std::move(checkpoint_in)),
      requests(std::move(requests_in)),
      plan(std::move(plan_in)),
      arena(std::move(arena_in)),
      device_memories(std::move(device_memories_in)),
      part_shapes(shapes_of_parts(checkpoint->tensors, requests)),
      file_chunks(std::move(shares.file_chunks)),
      network_chunks(std::move(shares.network_chunks)),
      network_wakes(std::make_unique<WakeFd[]>(shares.network_readers)),
      ready(static_cast<std::uint32_t>(plan.items().size())),
      throttle(bandwidth_bytes_per_s),
      countdowns(std::make_unique<TensorCountdown[]>(plan.items().size())),
      leases(std::make_unique<TensorLease[]>(plan.items().size())),
      counters(std::make_unique<ReaderCounters[]>(shares.file_readers + shares.network_readers +
                                                  plan.memories().size())),
      readers(shares.file_readers + shares.network_readers),
      network_readers(shares.network_readers),
      readers_running(readers),
      chunks_left(static_cast<std::uint32_t>(plan.chunks().size())),
      holders_(1 + static_cast<std::uint32_t>(plan.items().size())) {
  for (std::uint32_t i = 0; i < plan.memories().size(); ++i)
    windows.push_back(make_window(plan, i));
  const auto items = plan.items();
  for (std::uint32_t i = 0; i < items.size(); ++i) {
    countdowns[i].start(items[i].chunks);
    if (items[i].chunks == 0) {
      ready.push({&i, 1});
      add(counters[0].items_ready, 1);
    }
  }
}

void LoadCore::fail(Error error) {
  failure.with([&](std::optional<Error>& first) {
    if (!first) first = std::move(error);
  });
  // release: whoever sees the flag finds the failure.
  stopped.store(true, std::memory_order_release);
  operation.cancel();
  wake_readers();
  if (staging != nullptr) staging->wake_waiting();
  ready_or_stuck.notify();
}

void LoadCore::begins_to_wait(ReaderCounters& mine, std::uint64_t moves) noexcept {
  // release: pairs with is_stuck(), which then sees all that this reader finished.
  mine.waits_since.store(moves + 1, std::memory_order_release);
  ready_or_stuck.notify();
}

void LoadCore::wake_readers() noexcept {
  window_moved.notify();
  for (std::uint32_t i = 0; i < network_readers; ++i)
    network_wakes[i].notify();
}

Result<void> LoadCore::open_wakes() {
  // Readers of files block in nothing but reads.
  if (network_readers != 0) TRY(operation.open());
  for (std::uint32_t i = 0; i < network_readers; ++i)
    TRY(network_wakes[i].open());
  return {};
}

void LoadCore::chunk_landed(const Chunk& chunk, ReaderCounters& mine) {
  if (!integrity) return hand_over(chunk, mine);
  auto outcome = integrity->landed(
      chunk, [this](Place place) { return address(place); },
      [&](const Chunk& verified) { hand_over(verified, mine); });
  if (!outcome) fail(std::move(outcome).error());
}

void LoadCore::summed_chunk_landed(const Chunk& chunk, std::uint64_t crc, ReaderCounters& mine) {
  if (verify_crc(chunk, crc)) hand_over(chunk, mine);
}

bool LoadCore::verify_crc(const Chunk& chunk, std::uint64_t crc) {
  if (!integrity) return true;
  auto outcome = integrity->landed_as(chunk, crc);
  if (!outcome) fail(std::move(outcome).error());
  return outcome.has_value();
}

void LoadCore::staged_chunk_landed(const Chunk& chunk, ReaderCounters& mine) {
  hand_over(chunk, mine);
  // release: who finds no chunk in staging any more finds what became ready with the last.
  chunks_in_staging.fetch_sub(1, std::memory_order_release);
  ready_or_stuck.notify();
}

void LoadCore::hand_over(const Chunk& chunk, ReaderCounters& mine) {
  std::array<std::uint32_t, 256> completed;
  std::size_t count = 0;
  std::uint64_t items_ready = 0;
  std::uint64_t bytes_ready = 0;
  for (std::uint32_t item = chunk.first_item; item <= chunk.last_item; ++item) {
    const std::uint32_t chunks = plan.items()[item].chunks;
    if (chunks == 0 || !countdowns[item].chunk_landed(chunks)) continue;
    completed[count++] = item;
    ++items_ready;
    bytes_ready += plan.items()[item].bytes;
    if (count < completed.size()) continue;
    ready.push({completed.data(), count});
    count = 0;
  }
  if (count != 0) ready.push({completed.data(), count});
  add(mine.items_ready, items_ready);
  add(mine.bytes_ready, bytes_ready);
  add(mine.chunks, 1);
  if (chunks_left.fetch_sub(1, std::memory_order_relaxed) == 1) finish();
  if (items_ready != 0) ready_or_stuck.notify();
}

void LoadCore::item_landed(std::uint32_t item, ReaderCounters& mine) {
  const PlanItem& landed = plan.items()[item];
  add(mine.chunks, 1);
  if (!countdowns[item].chunk_landed(landed.chunks)) return;
  ready.push({&item, 1});
  add(mine.items_ready, 1);
  add(mine.bytes_ready, landed.bytes);
  ready_or_stuck.notify();
}

void LoadCore::finish() noexcept {
  finished_ns.store(steady_now_ns(), std::memory_order_relaxed);
}

void LoadCore::wait_for_window(ReaderCounters& mine, std::uint64_t moves) noexcept {
  const std::int64_t began = steady_now_ns();
  begins_to_wait(mine, moves);
  const std::uint32_t ticket = window_moved.prepare();
  if (has_moved_since(moves) || is_stopped()) {
    window_moved.retract();
  } else {
    window_moved.wait(ticket, std::nullopt);
  }
  mine.waits_since.store(0, std::memory_order_relaxed);
  add(mine.window_wait_ns, static_cast<std::uint64_t>(steady_now_ns() - began));
}

bool LoadCore::is_stuck() const noexcept {
  // acquire, here and below: what a reader finished before it began to wait, or ended, is then
  // visible, so that the caller, who looks for ready items next, finds it.
  const std::uint32_t running = readers_running.load(std::memory_order_acquire);
  const std::uint64_t moves = window_moves.load(std::memory_order_acquire);
  std::uint32_t shut_out = 0;
  for (std::uint32_t i = 0; i < readers; ++i) {
    // One that looked before the last move is about to look again.
    if (counters[i].waits_since.load(std::memory_order_acquire) == moves + 1) ++shut_out;
  }
  if (running == 0 || shut_out != running) return false;
  // After the readers: what they put there before they waited is seen.
  return chunks_in_staging.load(std::memory_order_acquire) == 0;
}

void LoadCore::release_item(std::uint32_t item) noexcept {
  release_place(item);
  let_go(1);
}

void LoadCore::release_place(std::uint32_t item) noexcept {
  const PlanItem& released = plan.items()[item];
  if (!holds_window(released)) return;
  const std::uint32_t memory = released.place.memory;
  if (plan.memories()[memory].ring_bytes == 0) {
    if (memory == 0) arena.give_back(released.place.value, released.bytes);
    return;
  }
  if (!windows[memory]->release(item)) return;
  // release: pairs with has_moved_since(): who sees the move finds the window moved.
  window_moves.fetch_add(1, std::memory_order_release);
  wake_readers();
}

void LoadCore::let_go(std::uint32_t holders) noexcept {
  // release: what this holder did is over. acquire: the one that frees sees that for all others.
  if (holders_.fetch_sub(holders, std::memory_order_acq_rel) == holders) delete this;
}

}  // namespace streamer::core
