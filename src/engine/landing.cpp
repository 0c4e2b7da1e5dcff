// SPDX-License-Identifier: Apache-2.0
#include "engine/landing.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "base/bytes.hpp"
#include "engine/reader_clock.hpp"

namespace streamer::core::inline engine {

namespace {

// Whether the window cannot move past the item until it is released.
bool holds_window(const PlanItem& item) {
  return item.place.in_arena && item.bytes != 0;
}

std::unique_ptr<Window> make_window(const Plan& plan, std::uint32_t memory) {
  const std::uint64_t ring_bytes = plan.memories()[memory].ring_bytes;
  // Where each item begins on the line; without a ring the window needs no positions.
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
  // These items hold nothing of this window: they count as released from the start, or the window
  // would wait for releases that never come.
  for (std::uint32_t i = 0; i < items.size(); ++i) {
    if (!is_on_line(items[i]) || !holds_window(items[i])) window->release(i);
  }
  return window;
}

std::unique_ptr<ElasticWindow> make_elastic(const Plan& plan, const LoadMemory& memory,
                                            LoadShare& share) {
  if (plan.blocks().empty()) return nullptr;
  return std::make_unique<ElasticWindow>(
      plan.blocks(), memory.elastic,
      [&memory](std::uint64_t offset, std::uint64_t bytes) {
        memory.arena.give_back(offset, bytes);
      },
      &share);
}

}  // namespace

Landing::Landing(Plan plan, LoadMemory memory, std::uint64_t bandwidth_bytes_per_s)
    : plan_(std::move(plan)),
      memory_(std::move(memory)),
      elastic_(make_elastic(plan_, memory_, share_)),
      throttle_(bandwidth_bytes_per_s),
      countdowns_(std::make_unique<TensorCountdown[]>(plan_.items().size())),
      ready_(static_cast<std::uint32_t>(plan_.items().size())),
      chunks_left_(static_cast<std::uint32_t>(plan_.chunks().size())),
      share_(ProcessShare::mine(), [this] { windows_moved(); }) {
  // All at once, and whatever other loads hold: its size was chosen by its own limit.
  if (!elastic_) static_cast<void>(share_.take(memory_.arena.bytes(), true));
  for (std::uint32_t i = 0; i < plan_.memories().size(); ++i)
    windows_.push_back(make_window(plan_, i));
  const auto items = plan_.items();
  for (std::uint32_t i = 0; i < items.size(); ++i)
    countdowns_[i].start(items[i].chunks);
}

Landing::~Landing() {
  if (!elastic_) return;
  // The next load starts in pages that are already resident, instead of touching new ones.
  memory_.arena.leave_to_next(
      std::min(elastic_->touched_bytes(), memory_.elastic.first_ahead_bytes));
}

void Landing::has_slow_pages() {
  notes_.add(
      "the system has no huge pages at hand (the host of a virtual machine backs them late, or "
      "memory is in pieces): tensors land in small pages");
}

// ---- Before the threads of sources run ----

void Landing::verify_by(std::unique_ptr<Integrity> integrity) noexcept {
  integrity_ = std::move(integrity);
}

Result<WakeFd*> Landing::add_wake() {
  auto wake = std::make_unique<WakeFd>();
  TRY(wake->open());
  wakes_.push_back(std::move(wake));
  return wakes_.back().get();
}

Result<Operation*> Landing::open_operation() {
  if (operation_.fd() < 0) TRY(operation_.open());
  return &operation_;
}

void Landing::begin(const LoadCounters& counters, std::uint32_t threads) {
  counters_ = &counters;
  threads_ = threads;
  // relaxed: no thread runs yet.
  threads_running_.store(threads, std::memory_order_relaxed);
  if (memory_.mapped) {
    memory_.mapped->begin(plan_);
    add(counters[0].bytes_ready, memory_.mapped->bytes());
    add(counters[0].bytes_page_cache, memory_.mapped->bytes() - memory_.mapped->uncached_bytes());
    add(counters[0].bytes_buffered, memory_.mapped->uncached_bytes());
    add(counters[0].bytes_mapped, memory_.mapped->bytes());
    if (plan_.chunks().empty()) finish();
  }
  for (std::uint32_t i = 0; i < plan_.items().size(); ++i) {
    // No chunk could make it ready later.
    if (plan_.items()[i].chunks != 0) continue;
    push_ready({&i, 1});
    add(counters[0].items_ready, 1);
  }
}

// ---- Sources ----

Result<void> Landing::allocate_devices() const {
  for (const auto& memory : memory_.devices) {
    if (memory) TRY(memory->allocate());
  }
  return {};
}

void Landing::begins_to_wait(ReaderCounters& mine, std::uint64_t moves) noexcept {
  // One more than `moves`, because 0 means that the thread is not waiting. release: pairs with
  // is_stuck(), which then sees everything that this thread has finished.
  mine.waits_since.store(moves + 1, std::memory_order_release);
  // If this was the last running thread, only the consumer can move the window: it must look again.
  news_.notify();
}

void Landing::has_waited(ReaderCounters& mine, std::int64_t began_ns) noexcept {
  // relaxed: a consumer that still finds it waiting also sees that windows have moved, or the stop.
  mine.waits_since.store(0, std::memory_order_relaxed);
  add(mine.window_wait_ns, static_cast<std::uint64_t>(steady_now_ns() - began_ns));
}

void Landing::wait_for_window(ReaderCounters& mine, std::uint64_t moves) noexcept {
  const std::int64_t began = steady_now_ns();
  begins_to_wait(mine, moves);
  const std::uint32_t ticket = window_moved_.prepare();
  // Checked again: a move since the caller asked admits() must not be slept through.
  if (has_moved_since(moves) || is_stopped()) {
    window_moved_.retract();
  } else {
    window_moved_.wait(ticket, looks_again_at());
  }
  has_waited(mine, began);
}

std::optional<SteadyTime> Landing::looks_again_at() const noexcept {
  if (!share_.is_refused()) return std::nullopt;
  return std::chrono::steady_clock::now() + kPatienceWithOtherLoads;
}

bool Landing::wait_for_bandwidth(std::uint64_t bytes, ReaderCounters& mine) {
  const std::int64_t began = steady_now_ns();
  const SteadyTime start = reserve(bytes, std::chrono::steady_clock::now());
  while (!is_stopped() && std::chrono::steady_clock::now() < start) {
    // Only a stop ends this early, and fail() wakes threads that wait on window_moved_.
    const std::uint32_t ticket = window_moved_.prepare();
    if (is_stopped()) {
      window_moved_.retract();
    } else {
      window_moved_.wait(ticket, start);
    }
  }
  add(mine.bandwidth_wait_ns, static_cast<std::uint64_t>(steady_now_ns() - began));
  return !is_stopped();
}

void Landing::chunk_landed(const Chunk& chunk, ReaderCounters& mine) {
  if (!integrity_) return hand_over(chunk, mine);
  // A checksum that needs the bytes in order holds chunks back: this call may hand over several, or
  // none yet.
  auto outcome = integrity_->landed(
      chunk, [this](Place place) { return address(place); },
      [&](const Chunk& verified) { hand_over(verified, mine); });
  if (!outcome) fail(std::move(outcome).error());
}

void Landing::summed_chunk_landed(const Chunk& chunk, std::uint64_t crc, ReaderCounters& mine) {
  if (verify_crc(chunk, crc)) hand_over(chunk, mine);
}

bool Landing::verify_crc(const Chunk& chunk, std::uint64_t crc) {
  if (!integrity_) return true;
  auto outcome = integrity_->landed_as(chunk, crc);
  if (!outcome) fail(std::move(outcome).error());
  return outcome.has_value();
}

void Landing::chunk_left_host() noexcept {
  // relaxed: published by the thread's own release in begins_to_wait() or threads_ended().
  chunks_on_the_way_.fetch_add(1, std::memory_order_relaxed);
}

void Landing::device_chunk_landed(const Chunk& chunk, ReaderCounters& mine) {
  hand_over(chunk, mine);
  // release: a thread that sees no chunk on its way also sees what became ready with the last one.
  chunks_on_the_way_.fetch_sub(1, std::memory_order_release);
  news_.notify();
}

void Landing::hand_over(const Chunk& chunk, ReaderCounters& mine) {
  // In batches, with one wake-up at the end: a chunk may complete thousands of small items.
  std::array<std::uint32_t, 256> completed;
  std::size_t count = 0;
  std::uint64_t items_ready = 0;
  std::uint64_t bytes_ready = 0;
  for (std::uint32_t item = chunk.first_item; item <= chunk.last_item; ++item) {
    const std::uint32_t chunks = plan_.items()[item].chunks;
    if (chunks == 0 || !countdowns_[item].chunk_landed(chunks)) continue;
    completed[count++] = item;
    ++items_ready;
    bytes_ready += plan_.items()[item].bytes;
    if (count < completed.size()) continue;
    push_ready({completed.data(), count});
    count = 0;
  }
  if (count != 0) push_ready({completed.data(), count});
  add(mine.items_ready, items_ready);
  add(mine.bytes_ready, bytes_ready);
  add(mine.chunks, 1);
  // relaxed: only decides which thread records the time of the last chunk.
  if (chunks_left_.fetch_sub(1, std::memory_order_relaxed) == 1) finish();
  if (items_ready != 0) news_.notify();
}

void Landing::push_ready(std::span<const std::uint32_t> items) noexcept {
  // relaxed: a hint. Counted before the push, so that item_yielded() cannot subtract first and wrap
  // round.
  items_waiting_.fetch_add(static_cast<std::uint32_t>(items.size()), std::memory_order_relaxed);
  ready_.push(items);
}

void Landing::item_landed(std::uint32_t item, ReaderCounters& mine) {
  const PlanItem& landed = plan_.items()[item];
  add(mine.chunks, 1);
  if (!countdowns_[item].chunk_landed(landed.chunks)) return;
  push_ready({&item, 1});
  add(mine.items_ready, 1);
  add(mine.bytes_ready, landed.bytes);
  news_.notify();
}

void Landing::finish() noexcept {
  finished_ns_.store(steady_now_ns(), std::memory_order_relaxed);
}

// ---- How it ends ----

void Landing::fail(Error error) {
  failure_.with([&](std::optional<Error>& first) {
    if (!first) first = std::move(error);
  });
  // release: a thread that sees the flag also sees the failure.
  stopped_.store(true, std::memory_order_release);
  // Each of these wakes threads that the others do not reach: those that block in an operation, the
  // sources, those that wait for segments, and the consumer.
  operation_.cancel();
  wake_sources();
  if (stop_listener_ != nullptr) stop_listener_->load_stopped();
  news_.notify();
}

Error Landing::failure() const {
  return failure_.with([](const std::optional<Error>& failure) { return failure->copy(); });
}

void Landing::threads_ended(std::uint32_t threads) noexcept {
  // release: pairs with the acquires in has_threads() and is_stuck(), which then see everything
  // that these threads have finished.
  threads_running_.fetch_sub(threads, std::memory_order_release);
  news_.notify();
}

void Landing::wake_sources() noexcept {
  window_moved_.notify();
  for (const auto& wake : wakes_)
    wake->notify();
}

// ---- The consumer ----

bool Landing::is_stuck() const noexcept {
  // acquire, here and below: makes visible what a thread finished before it began to wait or ended,
  // so that the caller, which looks for ready items next, finds it.
  const std::uint32_t running = threads_running_.load(std::memory_order_acquire);
  const std::uint64_t moves = window_moves();
  std::uint32_t shut_out = 0;
  for (std::uint32_t i = 0; i < threads_; ++i) {
    // A thread that looked before the last move is about to look again.
    if ((*counters_)[i].waits_since.load(std::memory_order_acquire) == moves + 1) ++shut_out;
  }
  if (running == 0 || shut_out != running) return false;
  // Read after the threads' state, so that chunks they sent before they waited are counted.
  return chunks_on_the_way_.load(std::memory_order_acquire) == 0;
}

bool Landing::touch_ahead() {
  if (!elastic_ || touched_ahead_ + kHugePageBytes > elastic_->touched_bytes()) return false;
  const std::byte* const page = memory_.arena.data() + touched_ahead_;
  touched_ahead_ += kHugePageBytes;
  if (memory_.arena.touch(page, kHugePageBytes)) has_slow_pages();
  return true;
}

void Landing::item_yielded(std::uint32_t item) noexcept {
  const PlanItem& yielded = plan_.items()[item];
  items_waiting_.fetch_sub(1, std::memory_order_relaxed);
  // Only the elastic window depends on what was yielded; a ring moves by releases alone.
  if (!elastic_ || yielded.place.memory != 0 || !holds_window(yielded)) return;
  if (elastic_->yielded(yielded.bytes)) windows_moved();
}

void Landing::release_item(std::uint32_t item) noexcept {
  const PlanItem& released = plan_.items()[item];
  if (!holds_window(released)) {
    if (memory_.mapped) memory_.mapped->release(item);
    return;
  }
  const std::uint32_t memory = released.place.memory;
  if (memory == 0 && elastic_) {
    if (elastic_->released(released.place.value)) windows_moved();
    return;
  }
  // Without a window released memory is not used again: it goes back to the system.
  if (plan_.memories()[memory].ring_bytes == 0) {
    if (memory == 0) memory_.arena.give_back(released.place.value, released.bytes);
    return;
  }
  if (windows_[memory]->release(item)) windows_moved();
}

void Landing::windows_moved() noexcept {
  // release: pairs with the acquire in window_moves().
  window_moves_.fetch_add(1, std::memory_order_release);
  wake_sources();
}

}  // namespace streamer::core::inline engine
