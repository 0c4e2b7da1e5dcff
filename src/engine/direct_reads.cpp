// SPDX-License-Identifier: Apache-2.0
#include "engine/direct_reads.hpp"

#include <fmt/format.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/check.hpp"

#if STREAMER_HAVE_LIBURING
#include <liburing.h>
#endif

namespace streamer::core::inline engine {

namespace {

// Deep enough for arrays of NVMe drives; adapt_depth() finds what the storage needs.
constexpr std::uint32_t kMostInFlight = 64;
constexpr std::uint64_t kMostBytesInFlight = 64 * kMiB;
constexpr std::uint32_t kFirstInFlight = 4;
// Buffers for first and last pages take at most an eighth of the bytes for buffers.
constexpr std::uint64_t kEdgesShare = 8;

// One buffer fewer than there is room for: the spare one.
std::uint32_t most_bounced(std::uint64_t chunk_bytes, std::uint64_t buffer_bytes) {
  const std::uint64_t room =
      (buffer_bytes - buffer_bytes / kEdgesShare) / (chunk_bytes + 2 * kPageBytes);
  return static_cast<std::uint32_t>(std::max<std::uint64_t>(room, 2) - 1);
}

// A read that takes longer than this waits in a queue of the load's own making: more in flight than
// bandwidth times latency only delays cancelling, which must wait for the reads.
constexpr std::int64_t kSlowReadNs = 40'000'000;
constexpr std::int64_t kQuickReadNs = 20'000'000;

std::int64_t now_ns() {
  return std::chrono::steady_clock::now().time_since_epoch().count();
}

}  // namespace

std::uint32_t most_direct_reads(const LoadSettings& settings, std::uint64_t chunk_bytes,
                                std::uint64_t buffer_bytes) {
  const std::uint64_t by_edges = buffer_bytes / kEdgesShare / (2 * kPageBytes);
  const std::uint64_t given = settings.get(setting::kDirectDepth);
  const std::uint64_t wanted =
      given != 0
          ? given
          : std::clamp<std::uint64_t>(kMostBytesInFlight / std::max<std::uint64_t>(chunk_bytes, 1),
                                      2, kMostInFlight);
  return static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(wanted, 1, std::max<std::uint64_t>(by_edges, 1)));
}

// One read in flight. Its pages cover the chunk: a first and a last page that the chunk covers only
// in part land in `edges` and are copied from there, everything between lands in place. If that is
// not possible, everything lands in `bounce`, or in a segment on its way to a device.
struct DirectReads::Slot {
  Chunk chunk;
  std::shared_ptr<const OpenFile> file;
  std::array<iovec, 3> entries{};
  unsigned entry_count = 0;
  bool is_in_place = false;
  std::optional<std::uint32_t> segment;
  std::int64_t submitted_ns = 0;
  bool is_busy = false;
  std::optional<int> result;  // of a read that finished at once
  PageBuffer edges;
  PageBuffer* bounce = nullptr;  // of bounces_

  explicit Slot(ReaderCounters& mine) : edges(mine) {}
  std::uint64_t first_page() const { return round_down(chunk.offset, kPageBytes); }
  std::uint64_t pages_end() const { return round_up(chunk.end(), kPageBytes); }
};

#if STREAMER_HAVE_LIBURING
// One io_uring of one reader's thread: never shared, so it needs no lock.
struct DirectReads::Ring {
  io_uring ring{};

  static std::unique_ptr<Ring> open(std::uint32_t depth, int& os_error) {
    auto opened = std::make_unique<Ring>();
    os_error = -::io_uring_queue_init(depth, &opened->ring, 0);
    if (os_error != 0) {
      opened->ring.ring_fd = -1;
      return nullptr;
    }
    // A sandbox may allow the setup and refuse what comes then.
    io_uring_sqe* const entry = ::io_uring_get_sqe(&opened->ring);
    STREAMER_CHECK(entry != nullptr);
    ::io_uring_prep_nop(entry);
    ::io_uring_sqe_set_data(entry, nullptr);
    os_error = opened->flush();
    if (os_error != 0) return nullptr;
    int result = 0;
    static_cast<void>(opened->take(true, result));
    return opened;
  }
  ~Ring() {
    if (ring.ring_fd >= 0) ::io_uring_queue_exit(&ring);
  }

  // 0, or the errno for which the system did not take the read.
  int submit(Slot& slot) {
    io_uring_sqe* const entry = ::io_uring_get_sqe(&ring);
    STREAMER_CHECK(entry != nullptr);
    ::io_uring_prep_readv(entry, slot.file->direct.get(), slot.entries.data(), slot.entry_count,
                          slot.first_page());
    ::io_uring_sqe_set_data(entry, &slot);
    const int os_error = flush();
    if (os_error == 0) return 0;
    // The entry stays queued: turn it into one that does nothing.
    ::io_uring_prep_nop(entry);
    ::io_uring_sqe_set_data(entry, nullptr);
    return os_error;
  }

  int flush() {
    constexpr int kMostTries = 100;  // with EINTR and where the system is short of memory
    int submitted = 0;
    for (int i = 0; i < kMostTries; ++i) {
      submitted = ::io_uring_submit(&ring);
      if (submitted != -EINTR && submitted != -EAGAIN && submitted != -EBUSY) break;
    }
    return submitted >= 0 ? 0 : -submitted;
  }

  Slot* take(bool wait, int& result) {
    io_uring_cqe* entry = nullptr;
    int failed = 0;
    do {
      failed = wait ? ::io_uring_wait_cqe(&ring, &entry) : ::io_uring_peek_cqe(&ring, &entry);
    } while (failed == -EINTR);
    if (failed != 0) return nullptr;
    auto* const slot = static_cast<Slot*>(::io_uring_cqe_get_data(entry));
    result = entry->res;
    ::io_uring_cqe_seen(&ring, entry);
    return slot;
  }
};
#else
struct DirectReads::Ring {
  static std::unique_ptr<Ring> open(std::uint32_t, int& os_error) {
    os_error = ENOSYS;
    return nullptr;
  }
  int submit(Slot&) { return ENOSYS; }
  Slot* take(bool, int&) { return nullptr; }
};
#endif

int probe_io_uring() noexcept {
#if STREAMER_HAVE_LIBURING
  int os_error = 0;
  static_cast<void>(DirectReads::Ring::open(1, os_error));
  return os_error;
#else
  return ENOSYS;
#endif
}

DirectReads::DirectReads(Landing& landing, Staging* staging, const LoadSettings& settings,
                         ReaderCounters& counters, PageBuffer& spare, std::uint64_t buffer_bytes)
    : landing_(landing),
      staging_(staging),
      counters_(counters),
      spare_(spare),
      most_(most_direct_reads(settings, landing.plan().largest_chunk_bytes(), buffer_bytes)),
      most_bounced_(most_bounced(landing.plan().largest_chunk_bytes(), buffer_bytes)),
      depth_(settings.get(setting::kDirectDepth) != 0 ? most_ : std::min(kFirstInFlight, most_)),
      wants_ring_(settings.get(setting::kIoUring)) {}

DirectReads::~DirectReads() {
  STREAMER_CHECK(in_flight_ == 0);
}

// Bounce buffers are counted apart from the depth: there are few of them, because the memory limit
// pays for each.
bool DirectReads::has_room_for(const Chunk& chunk) const {
  if (in_flight_ >= depth_) return false;
  const std::size_t bounced = bounces_.size() - free_bounces_.size();
  return bounced < most_bounced_ || !may_bounce(chunk);
}

// Where the first page that the chunk covers completely lands; nullptr if it cannot land in place.
std::byte* DirectReads::first_whole_page(const Chunk& chunk) const {
  if (chunk.pieces != 1 || landing_.is_for_device(chunk)) return nullptr;
  const std::uint64_t begin = round_up(chunk.offset, kPageBytes);
  if (begin >= round_down(chunk.end(), kPageBytes)) return nullptr;
  std::byte* page = nullptr;
  landing_.plan().for_each_piece(chunk, chunk.offset, [&](const Piece& only) {
    page = landing_.address(only.place) + (begin - chunk.offset);
  });
  return page;
}

// Whether the chunk may need a buffer; that also depends on its file.
bool DirectReads::may_bounce(const Chunk& chunk) const {
  if (landing_.is_for_device(chunk)) return Staging::needs_gathering(chunk);
  const std::byte* const page = first_whole_page(chunk);
  return page == nullptr || reinterpret_cast<std::uintptr_t>(page) % kPageBytes != 0;
}

Result<void> DirectReads::submit(const Chunk& chunk, std::shared_ptr<const OpenFile> file,
                                 std::optional<std::uint32_t> segment) {
  // With the first direct read: a load from the page cache needs no ring.
  if (wants_ring_ && !ring_) {
    int os_error = 0;
    ring_ = Ring::open(most_, os_error);
    if (!ring_) do_without_ring(os_error);
  }
  auto free = std::find_if(slots_.begin(), slots_.end(), [](const auto& s) { return !s->is_busy; });
  if (free == slots_.end()) free = slots_.insert(free, std::make_unique<Slot>(counters_));
  Slot& slot = **free;
  slot.chunk = chunk;
  slot.file = std::move(file);
  slot.submitted_ns = now_ns();
  slot.result.reset();
  slot.segment = segment;
  TRY(prepare(slot));
  if (wants_ring_) {
    const int os_error = ring_->submit(slot);
    if (os_error != 0) do_without_ring(os_error);
  }
  if (wants_ring_) {
    counters_.uses_io_uring.store(true, std::memory_order_relaxed);
  } else {
    slot.result = read_now(slot);
  }
  slot.is_busy = true;
  ++in_flight_;
  if (slot.segment) ++segments_in_flight_;
  return {};
}

// Reads that are in the ring end there.
void DirectReads::do_without_ring(int os_error) {
  wants_ring_ = false;
  landing_.notes().add(
      fmt::format("io_uring is not available ({}): direct reads block their reader",
                  std::generic_category().message(os_error)));
}

// Decides where the read lands.
Result<void> DirectReads::prepare(Slot& slot) {
  TRY(slot.edges.get(2 * kPageBytes));
  lay_in_place(slot);
  if (slot.is_in_place) return {};
  const std::uint64_t bytes = slot.pages_end() - slot.first_page();
  if (slot.segment) {
    slot.entries[0] = {staging_->data(slot.chunk, *slot.segment), bytes};
  } else {
    const auto bounce = TRY(take_bounce(slot).get(bytes));
    slot.entries[0] = {bounce.data(), bytes};
  }
  slot.entry_count = 1;
  return {};
}

PageBuffer& DirectReads::take_bounce(Slot& slot) {
  if (free_bounces_.empty()) {
    bounces_.push_back(std::make_unique<PageBuffer>(counters_));
    free_bounces_.push_back(bounces_.back().get());
  }
  slot.bounce = free_bounces_.back();
  free_bounces_.pop_back();
  return *slot.bounce;
}

// One scattered read of up to three entries: the first page to `edges`, the whole pages to their
// place, the last page to `edges`. Nothing changes if the place is not aligned as the file demands.
void DirectReads::lay_in_place(Slot& slot) {
  const Chunk& chunk = slot.chunk;
  slot.entry_count = 0;
  slot.is_in_place = false;
  std::byte* const inner = first_whole_page(chunk);
  const auto address = reinterpret_cast<std::uintptr_t>(inner);
  if (inner == nullptr || address % slot.file->memory_alignment != 0) return;
  // The kernel would touch its pages one by one.
  const Place place = landing_.plan().piece_at(chunk, chunk.offset)->place;
  static_cast<void>(landing_.room_at(place, chunk.size));
  const std::uint64_t inner_begin = round_up(chunk.offset, kPageBytes);
  const std::uint64_t inner_end = round_down(chunk.end(), kPageBytes);

  const auto edges = slot.edges.get(2 * kPageBytes);
  const auto push = [&](std::byte* to, std::uint64_t bytes) {
    slot.entries[slot.entry_count++] = {to, bytes};
  };
  if (inner_begin != chunk.offset) push(edges->data(), kPageBytes);
  push(inner, inner_end - inner_begin);
  if (inner_end != chunk.end()) push(edges->data() + kPageBytes, kPageBytes);
  slot.is_in_place = true;
}

// Without a ring: the read is over when this returns. As a completion queue has it: bytes, or a
// negative errno.
int DirectReads::read_now(const Slot& slot) const {
  for (;;) {
    const ssize_t got =
        ::preadv(slot.file->direct.get(), slot.entries.data(), static_cast<int>(slot.entry_count),
                 static_cast<off_t>(slot.first_page()));
    if (got >= 0) return static_cast<int>(got);
    if (errno != EINTR) return -errno;
  }
}

// Reads that finished at once first: the ring does not know them, and waiting for it could last for
// ever.
std::optional<DirectReads::Done> DirectReads::take_done(bool wait) {
  for (const auto& slot : slots_) {
    if (slot->is_busy && slot->result) return land(*slot, *slot->result);
  }
  int result = 0;
  Slot* const slot = ring_ ? ring_->take(wait, result) : nullptr;
  if (slot == nullptr) return std::nullopt;
  adapt_depth(*slot);
  return land(*slot, result);
}

// Frees the slot and brings the bytes from pages to where they belong, on the path that prepare()
// chose. A short or failed read is done again through the page cache, whose error is the one to
// report.
DirectReads::Done DirectReads::land(Slot& slot, int result) {
  slot.is_busy = false;
  --in_flight_;
  if (slot.segment) --segments_in_flight_;
  // It is not used again before the next submit().
  if (slot.bounce != nullptr) free_bounces_.push_back(slot.bounce);
  slot.bounce = nullptr;
  const Chunk& chunk = slot.chunk;
  Done done{chunk, std::move(slot.file), {}, {}};
  if (landing_.is_for_device(chunk)) {
    done.staged = {.data = static_cast<const std::byte*>(slot.entries[0].iov_base),
                   .offset = slot.first_page(),
                   .segment = slot.segment};
  }
  // The file may end within the last page: a read that stops after the chunk's end is complete.
  const std::uint64_t needed = chunk.end() - slot.first_page();
  if (result < 0 || static_cast<std::uint64_t>(result) < needed) {
    // Short, refused or failed: a buffered read finds out why, and reports it if it fails too.
    if (result == -EINVAL) {
      done.file->direct_is_refused.store(true, std::memory_order_relaxed);
      landing_.notes().add(fmt::format("a direct read of {} was refused: reading buffered",
                                       done.file->object->uri.text()));
    } else {
      add(counters_.retries, 1);
    }
    if (landing_.is_for_device(chunk)) {
      auto* const to = static_cast<std::byte*>(slot.entries[0].iov_base);
      done.staged.offset = chunk.offset;
      done.outcome = read_chunk_to(to, chunk, *done.file, counters_);
    } else {
      done.outcome = read_chunk(landing_, chunk, *done.file, spare_, counters_);
    }
    add(counters_.bytes_buffered, chunk.size);
    return done;
  }
  add(counters_.bytes_direct, chunk.size);
  if (landing_.is_for_device(chunk)) {
    if (!slot.segment) add(counters_.bytes_bounced, chunk.size);
    return done;
  }
  if (!slot.is_in_place) {
    const std::span<const std::byte> bytes(static_cast<std::byte*>(slot.entries[0].iov_base),
                                           slot.entries[0].iov_len);
    scatter(landing_, chunk, bytes, slot.first_page());
    add(counters_.bytes_bounced, chunk.size);
    return done;
  }
  // The parts of the first and the last page that the chunk wants.
  const std::uint64_t head = round_up(chunk.offset, kPageBytes) - chunk.offset;
  const std::uint64_t tail = chunk.end() - round_down(chunk.end(), kPageBytes);
  const auto edges = slot.edges.get(2 * kPageBytes);
  landing_.plan().for_each_piece(chunk, chunk.offset, [&](const Piece& piece) {
    std::byte* const to = landing_.address(piece.place);
    if (head != 0) std::memcpy(to, edges->data() + (kPageBytes - head), head);
    if (tail != 0) std::memcpy(to + (chunk.size - tail), edges->data() + kPageBytes, tail);
  });
  return done;
}

// Additive both ways: latency tells whether reads queue up in front of the storage.
void DirectReads::adapt_depth(const Slot& slot) {
  // Deeper only if all of the depth was in use: otherwise it was not what limited the reads.
  const std::int64_t took = now_ns() - slot.submitted_ns;
  if (took > kSlowReadNs && depth_ > 1) --depth_;
  if (took < kQuickReadNs && in_flight_ == depth_ && depth_ < most_) ++depth_;
}

}  // namespace streamer::core::inline engine
