// SPDX-License-Identifier: Apache-2.0
#include "distributed/exchange.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/fits_in_memory.hpp"
#include "base/guarded.hpp"
#include "base/text.hpp"
#include "distributed/agreement.hpp"
#include "distributed/distributed_settings.hpp"
#include "engine/reader_clock.hpp"

namespace streamer::core::inline distributed {

namespace {

// Never freed.
void keep_for_good(std::unique_ptr<ExchangeMemory> memory) {
  using Kept = std::vector<std::unique_ptr<ExchangeMemory>>;
  static auto* const all = new Guarded<Kept>;
  all->with([&](Kept& kept) { kept.push_back(std::move(memory)); });
}

// Where the item ends on the line of its memory.
std::uint64_t line_end(const PlanItem& item) {
  return item.place.value + item.bytes;
}

}  // namespace

Exchange::Exchange(Communicator& communicator, Schedule schedule,
                   std::vector<std::vector<Need>> needs, std::unique_ptr<OwnUnits> own,
                   Options options)
    : communicator_(communicator),
      schedule_(std::move(schedule)),
      needs_(std::move(needs)),
      options_(options),
      message_bytes_(schedule_.messages),
      own_(std::move(own)),
      messages_(schedule_.messages) {
  for (const std::vector<Need>& list : needs_)
    cursors_.emplace_back(list);
}

Exchange::~Exchange() {
  release_units();
}

bool Exchange::is_mine(const Unit& unit) const noexcept {
  return unit.owner == communicator_.rank();
}

const std::vector<Need>& Exchange::needs_of_rank(std::uint32_t rank) const noexcept {
  return needs_[needs_.size() == 1 ? 0 : rank];
}

// Whether another rank receives what the list names.
bool Exchange::is_sent(std::size_t list) const noexcept {
  return needs_.size() == 1 || list != communicator_.rank();
}

// Puts the rank's items into the order in which the schedule's units make them whole, and remembers
// which unit brings which part of which item. Returns in how many parts each item comes, which is
// what its countdown starts from.
std::vector<std::uint32_t> Exchange::arrange(ReadingList& list) {
  std::vector<Wanted>& wanted = list.wanted;
  std::vector<Need> own;
  std::vector<std::uint32_t> items;  // that own is of
  for (std::uint32_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i].range.total_bytes() == 0) continue;
    own.push_back({wanted[i].object, wanted[i].range});
    items.push_back(i);
  }
  // Units of one owner are ordered by object and offset, those of all owners are not.
  std::vector<NeedCursor> cursors(communicator_.size(), NeedCursor(own));
  std::vector<std::uint32_t> pieces(wanted.size());
  std::vector<std::uint32_t> first(wanted.size());  // the unit with which the item begins
  for (std::uint32_t u = 0; u < schedule_.units.size(); ++u) {
    cursors[schedule_.units[u].owner].visit(
        schedule_.units[u], [&](std::size_t need, Overlap shared) {
          const std::uint32_t item = items[need];
          if (pieces[item]++ == 0) first[item] = u;
          parts_.push_back({.unit = u, .item = item, .of_item = shared});
          message_bytes_[schedule_.units[u].message] += shared.size();
        });
  }
  for (std::size_t i = 1; i < wanted.size(); ++i) {
    if (pieces[i] == 0) first[i] = first[i - 1];  // without bytes: with the one before
  }
  std::vector<std::uint32_t> order(wanted.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return first[a] < first[b]; });
  std::vector<std::uint32_t> position(wanted.size());
  std::vector<Wanted> arranged;
  std::vector<std::uint32_t> arranged_pieces;
  for (const std::uint32_t i : order) {
    position[i] = static_cast<std::uint32_t>(arranged.size());
    arranged.push_back(wanted[i]);
    arranged_pieces.push_back(pieces[i]);
    ranges_.push_back(wanted[i].range);
  }
  wanted = std::move(arranged);
  for (ItemPart& part : parts_)
    part.item = position[part.item];
  measure_buffers();
  return arranged_pieces;
}

// The buffers are as large as the round that needs most, so that no round allocates: an allocation
// that failed in the middle would leave the other ranks waiting.
void Exchange::measure_buffers() {
  std::vector<NeedCursor> cursors = cursors_;
  std::size_t part = 0;
  for (const Round round : schedule_.rounds) {
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    for (std::uint32_t u = round.begin; u < round.end; ++u) {
      const Unit& unit = schedule_.units[u];
      for (; part < parts_.size() && parts_[part].unit == u; ++part)
        received += is_mine(unit) ? 0 : parts_[part].of_item.size();
      if (!is_mine(unit)) continue;
      for (std::size_t list = 0; list < needs_.size(); ++list) {
        if (!is_sent(list)) continue;
        cursors[list].visit(unit, [&](std::size_t, Overlap shared) { sent += shared.size(); });
      }
    }
    send_bytes_ = std::max(send_bytes_, sent);
    receive_bytes_ = std::max(receive_bytes_, received);
  }
}

// In a ring an item waits until those a lap before it have been released, so these must be complete
// before it begins. With several files at once that may not be the case.
Result<void> Exchange::check(const Plan& plan) const {
  const auto items = plan.items();
  std::vector<std::size_t> first(items.size(), SIZE_MAX);
  std::vector<std::size_t> last(items.size(), 0);
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    const std::uint32_t item = parts_[i].item;
    first[item] = std::min(first[item], i);
    last[item] = i + 1;
  }
  for (std::uint32_t memory = 0; memory < plan.memories().size(); ++memory) {
    const std::uint64_t ring_bytes = plan.memories()[memory].ring_bytes;
    if (ring_bytes == 0) continue;
    std::size_t released = 0;  // items before this one
    std::size_t whole_at = 0;  // when they all are
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (!items[i].place.in_arena || items[i].place.memory != memory || items[i].bytes == 0)
        continue;
      for (; released < i; ++released) {
        const PlanItem& before = items[released];
        const bool is_on_line = before.place.in_arena && before.place.memory == memory;
        if (is_on_line && before.place.value + ring_bytes >= line_end(items[i])) break;
        whole_at = std::max(whole_at, last[released]);
      }
      if (whole_at <= first[i]) continue;
      return Error(
          ErrorKind::memory_limit,
          fmt::format(
              "the limit of {} bytes ({}) is too small for the tensors that are passed "
              "on at once (of several files with {}=files, or parts that overlap): raise it",
              ring_bytes, format_bytes(ring_bytes), setting::kDistributedPartition.name()));
    }
  }
  return {};
}

void Exchange::run(std::uint32_t, ReaderCounters& mine) {
  const std::int64_t began = steady_now_ns();
  exchange_all(mine);
  add(mine.reader_cpu_ns, thread_cpu_ns());
  add(mine.wall_ns, static_cast<std::uint64_t>(steady_now_ns() - began));
}

// However a round ends on this rank, the others hear of it: from the agreement before the next
// round, or from agree_on() here, as long as they still wait for one.
void Exchange::exchange_all(ReaderCounters& mine) {
  std::optional<Error> failure;
  // Allocated in advance: there may be no memory for it when it is needed.
  Error out_of_memory(ErrorKind::out_of_memory, "not enough memory to exchange bytes");
  const bool fits = fits_in_memory([&] {
    auto outcome = run_rounds(mine);
    if (!outcome) failure = std::move(outcome).error();
  });
  if (!fits) failure = std::move(out_of_memory);
  if (!failure) return landing_->finish();
  // The others would otherwise wait for this rank until their timeout.
  if (others_wait_) static_cast<void>(agree_on(&*failure));
  release_units();
  stop();  // nobody needs what is still being read
  landing_->fail(*std::move(failure));
}

Result<void> Exchange::agree_on(const Error* mine) {
  const std::int64_t began = steady_now_ns();
  auto outcome = agree(communicator_, mine, options_.timeout);
  if (!outcome) others_wait_ = false;
  exchange_wait_ns_.fetch_add(static_cast<std::uint64_t>(steady_now_ns() - began),
                              std::memory_order_relaxed);
  return outcome;
}

Result<void> Exchange::open_memory() {
  if (options_.device == kHost) {
    memory_ = host_exchange_memory();
  } else {
    memory_ = TRY(device_exchange_memory(*options_.gpu, options_.device.number));
    TRY(landing_->allocate_devices());
  }
  send_buffer_ = TRY(memory_->allocate(send_bytes_));
  receive_buffer_ = TRY(memory_->allocate(receive_bytes_));
  return {};
}

// A round: read the rank's own units, pack what others need, agree that every rank could, pass it
// on, and lay what came where it belongs. Only one round is in memory at a time.
Result<void> Exchange::run_rounds(ReaderCounters& mine) {
  TRY(open_memory());
  if (schedule_.rounds.empty()) return agree_on(nullptr);
  for (const Round round : schedule_.rounds) {
    TRY(take_units(round));
    TRY(pack(round));
    choose_destinations(round);
    TRY(agree_on(nullptr));
    // Until that is over no rank can be told anything.
    others_wait_ = false;
    TRY(pass_on());
    // They learn of a failure from here on when they agree on the next round.
    others_wait_ = round.end != schedule_.units.size();
    TRY(unpack(mine, round));
    release_units();
  }
  return {};
}

// Waits until the rank's own units of the round are read; the sources below read ahead meanwhile.
Result<void> Exchange::take_units(Round round) {
  for (std::uint32_t u = round.begin; u < round.end; ++u) {
    if (!is_mine(schedule_.units[u])) continue;
    taken_.push_back(TRY(own_->take_next()));
  }
  if (landing_->is_stopped()) return Error(ErrorKind::cancelled, "the load was cancelled");
  return {};
}

void Exchange::release_units() noexcept {
  taken_.clear();
  own_->release();
}

// Copies a unit's bytes of a range to a dense place. bytes: the unit's, densely.
Result<void> Exchange::gather(std::byte* to, const StridedRange& range, Overlap part,
                              const Unit& unit, const std::byte* bytes) {
  const std::uint64_t unit_stride = unit.range.stride_bytes;
  const std::uint64_t pitch = unit.range.count == 1 ? range.stride_bytes : unit.range.run_bytes;
  while (!part.empty()) {
    const std::uint64_t run = part.begin / range.run_bytes;
    const std::uint64_t within = part.begin % range.run_bytes;
    const std::uint64_t offset = range.offset + run * range.stride_bytes + within;
    const std::uint64_t in_object = offset - unit.range.offset;
    const std::uint64_t in_unit =
        unit.range.count == 1
            ? in_object
            : in_object / unit_stride * unit.range.run_bytes + in_object % unit_stride;
    const bool is_whole_rows = within == 0 && part.size() >= range.run_bytes;
    const std::uint64_t rows = is_whole_rows ? part.size() / range.run_bytes : 1;
    const std::uint64_t row_bytes =
        is_whole_rows ? range.run_bytes : std::min(range.run_bytes - within, part.size());
    TRY(memory_->copy({.to = to,
                       .to_pitch = row_bytes,
                       .from = bytes + in_unit,
                       .from_pitch = std::max(pitch, row_bytes),
                       .row_bytes = row_bytes,
                       .rows = rows}));
    to += rows * row_bytes;
    part.begin += rows * row_bytes;
  }
  return {};
}

// What goes to whom, in order. Units that fill a message are sent from where they were read; others
// are gathered into the send buffer first.
Result<void> Exchange::pack(Round round) {
  outgoing_.clear();
  std::byte* at = send_buffer_;
  const std::uint32_t ranks = communicator_.size();
  const auto send_to = [&](std::uint32_t rank, const std::vector<Outgoing>& messages) {
    for (const Outgoing& message : messages)
      outgoing_.push_back({rank, message.data, message.bytes});
  };
  std::vector<Outgoing> messages;
  // One list: all ranks need the same bytes, which are packed once and sent to each.
  if (needs_.size() == 1) TRY(pack_for(0, round, at, messages));
  // So that not all ranks send to the same one first.
  for (std::uint32_t step = 1; step < ranks; ++step) {
    const std::uint32_t rank = (communicator_.rank() + step) % ranks;
    if (needs_.size() != 1) TRY(pack_for(rank, round, at, messages));
    send_to(rank, messages);
  }
  return memory_->finish_copies();
}

// The bytes of this rank's units that a list of needs wants, by message. Packed from `at` on, which
// is advanced.
Result<void> Exchange::pack_for(std::size_t list, Round round, std::byte*& at,
                                std::vector<Outgoing>& messages) {
  messages.clear();
  std::vector<std::pair<std::size_t, Overlap>> parts;
  std::optional<std::uint32_t> message;
  std::size_t taken = 0;
  for (std::uint32_t u = round.begin; u < round.end; ++u) {
    const Unit& unit = schedule_.units[u];
    if (!is_mine(unit)) continue;
    const std::byte* const bytes = taken_[taken++];
    parts.clear();
    cursors_[list].visit(unit,
                         [&](std::size_t need, Overlap part) { parts.emplace_back(need, part); });
    if (parts.empty()) continue;
    const bool begins = message != unit.message;
    message = unit.message;
    const bool is_all_of_it =
        parts.size() == 1 && parts[0].second.size() == unit.range.total_bytes();
    // Alone in its message, as only units are that fill one.
    if (is_all_of_it && begins && unit.range.total_bytes() >= kMessageBytes) {
      messages.push_back({0, bytes, unit.range.total_bytes()});
      continue;
    }
    if (begins) messages.push_back({0, at, 0});
    for (const auto& [need, part] : parts) {
      TRY(gather(at, needs_[list][need].range, part, unit, bytes));
      at += part.size();
      messages.back().bytes += part.size();
    }
  }
  return {};
}

// Decides where each message of the round is received.
void Exchange::choose_destinations(Round round) {
  incoming_.clear();
  std::byte* at = receive_buffer_;
  std::size_t part = next_part_;
  for (std::uint32_t u = round.begin; u < round.end; ++u) {
    const Unit& unit = schedule_.units[u];
    const std::size_t first = part;
    while (part < parts_.size() && parts_[part].unit == u)
      ++part;
    // Messages are numbered as they begin.
    if (unit.message != next_message_) continue;
    ++next_message_;
    const std::uint64_t bytes = message_bytes_[unit.message];
    if (is_mine(unit) || bytes == 0) continue;
    const bool is_alone = unit.range.total_bytes() >= kMessageBytes;
    std::byte* const place = is_alone ? place_of(first, part) : nullptr;
    messages_[unit.message] = place == nullptr ? at : nullptr;
    incoming_.push_back({unit.owner, place == nullptr ? at : place, bytes});
    if (place == nullptr) at += bytes;
  }
}

// Where parts [first, end) belong, if that is one place, and it is free; else nullptr.
std::byte* Exchange::place_of(std::size_t first, std::size_t end) const {
  std::byte* begin = nullptr;
  std::byte* next = nullptr;
  for (std::size_t i = first; i < end; ++i) {
    const ItemPart& part = parts_[i];
    const Place place = landing_->plan().items()[part.item].place;
    if (place.in_arena) {
      const bool is_ring = landing_->plan().memories()[place.memory].ring_bytes != 0;
      // Work on the consumer's stream may still read the previous bytes.
      if (is_ring && options_.consumer_stream != nullptr) return nullptr;
      if (!landing_->admits(place.memory, place.value + part.of_item.end)) return nullptr;
    }
    std::byte* const at = landing_->room_at(place.plus(part.of_item.begin), part.of_item.size());
    if (begin == nullptr) begin = next = at;
    if (at != next) return nullptr;
    next += part.of_item.size();
  }
  return begin;
}

// The collective call. Each rank comes here in each round, even with nothing to send.
Result<void> Exchange::pass_on() {
  const std::int64_t began = steady_now_ns();
  auto passed = communicator_.all_to_all(outgoing_, incoming_, options_.timeout);
  exchange_wait_ns_.fetch_add(static_cast<std::uint64_t>(steady_now_ns() - began),
                              std::memory_order_relaxed);
  if (!passed) {
    // The communicator is unusable after a failed call, so the others cannot be told through it.
    others_wait_ = false;
    // Transfers may still be in progress, and use what they were given for as long as the process
    // lives: the buffers, units that were sent from where they were read, tensors that were
    // received in their places.
    keep_for_good(std::move(memory_));
    own_->keep_taken();
    landing_->keep_for_good();
    return passed;
  }
  for (const Outgoing& message : outgoing_)
    bytes_sent_.fetch_add(message.bytes, std::memory_order_relaxed);
  for (const Incoming& message : incoming_)
    bytes_received_.fetch_add(message.bytes, std::memory_order_relaxed);
  return {};
}

// Lays the round's parts into their items, in the order of the units, and hands over what became
// whole. Bytes that were received in place are already there.
Result<void> Exchange::unpack(ReaderCounters& mine, Round round) {
  if (options_.consumer_stream != nullptr) TRY(memory_->follow(options_.consumer_stream));
  std::size_t taken = 0;
  for (std::uint32_t u = round.begin; u < round.end; ++u) {
    const Unit& unit = schedule_.units[u];
    const std::byte* const own = is_mine(unit) ? taken_[taken++] : nullptr;
    for (; next_part_ < parts_.size() && parts_[next_part_].unit == u; ++next_part_) {
      const ItemPart& part = parts_[next_part_];
      TRY(wait_for_room(mine, part));
      const Place place = landing_->plan().items()[part.item].place;
      std::byte* const to = landing_->room_at(place.plus(part.of_item.begin), part.of_item.size());
      if (own != nullptr) {
        TRY(gather(to, ranges_[part.item], part.of_item, unit, own));
      } else {
        const std::uint64_t bytes = part.of_item.size();
        const std::byte*& from = messages_[unit.message];
        if (from != nullptr) {
          TRY(memory_->copy({to, bytes, from, bytes, bytes, 1}));
          from += bytes;
        }
      }
      landed_.push_back(part.item);
    }
    TRY(hand_over(mine));
  }
  return {};
}

// Finishes the copies so far and marks their items as landed.
Result<void> Exchange::hand_over(ReaderCounters& mine) {
  if (landed_.empty()) return {};
  TRY(memory_->finish_copies());
  for (const std::uint32_t item : landed_)
    landing_->item_landed(item, mine);
  landed_.clear();
  return {};
}

// Sleeps until the part's place may be written. Other ranks wait for this one meanwhile: their
// consumers must not depend on this rank's.
Result<void> Exchange::wait_for_room(ReaderCounters& mine, const ItemPart& part) {
  const Place place = landing_->plan().items()[part.item].place;
  if (!place.in_arena) return {};
  const bool is_ring = landing_->plan().memories()[place.memory].ring_bytes != 0;
  for (;;) {
    if (landing_->is_stopped()) return Error(ErrorKind::cancelled, "the load was cancelled");
    const std::uint64_t moves = landing_->window_moves();
    if (landing_->admits(place.memory, place.value + part.of_item.end)) {
      // The room may have been released at any time since unpack() followed the stream: work that
      // was queued before that may read it.
      const bool follows = is_ring && options_.consumer_stream != nullptr;
      return follows ? memory_->follow(options_.consumer_stream) : Result<void>();
    }
    // The consumer can only release items that were yielded.
    TRY(hand_over(mine));
    landing_->wait_for_window(mine, moves);
  }
}

void Exchange::stop() noexcept {
  own_->stop();
}

void Exchange::add_to(LoadStats& stats) const {
  own_->add_to(stats);
  stats.rank = communicator_.rank();
  stats.ranks = communicator_.size();
  stats.bytes_sent = bytes_sent_.load(std::memory_order_relaxed);
  stats.bytes_received = bytes_received_.load(std::memory_order_relaxed);
  stats.exchange_wait_ns = exchange_wait_ns_.load(std::memory_order_relaxed);
}

std::string Exchange::notes() const {
  return own_->notes();
}

}  // namespace streamer::core::inline distributed
