// SPDX-License-Identifier: Apache-2.0
#include "engine/network_reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>

#include "base/chance.hpp"
#include "base/fits_in_memory.hpp"
#include "engine/network_flight.hpp"
#include "engine/reader_clock.hpp"

namespace streamer::core {

namespace {

constexpr std::uint32_t kIdleConnections = 1024;
// Long requests, so that waiting for first bytes costs little: what one of them holds too much of
// in the end is split off and given to an idle connection.
constexpr double kTimesFirstByte = 10;
constexpr std::uint64_t kLargestRequestBytes = 64 * kMiB;
constexpr std::uint64_t kLeastSplitBytes = 8 * kMiB;
constexpr Milliseconds kCopiesAwaitedFor{2};

}  // namespace

NetworkReader::NetworkReader(LoadCore& core, NetworkShare& share, const LoadSettings& settings,
                             std::uint32_t number, std::uint32_t network_number)
    : core_(core),
      share_(share),
      counters_(core.counters[number]),
      wake_(core.network_wakes[network_number]),
      settings_(settings),
      network_number_(network_number),
      chunk_bytes_(
          static_cast<double>(std::max<std::uint64_t>(core.plan.largest_chunk_bytes(), 1))),
      budget_(settings.connections != 0 ? settings.connections : 256) {}

NetworkReader::~NetworkReader() = default;

void NetworkReader::run() {
  started_ns_ = steady_now_ns();
  // Made while there is memory for it.
  Error out_of_memory(ErrorKind::out_of_memory, "there is no memory for a network reader");
  // What it waits for outside its own loop, such as credentials, ends with the load.
  const Work for_the_load("the load", &core_.operation);
  const WorkScope scope(&for_the_load);
  const bool fits = fits_in_memory([&] {
    auto outcome = work();
    if (!outcome) core_.fail(std::move(outcome).error());
  });
  if (!fits) core_.fail(std::move(out_of_memory));
  // Whatever is in flight writes to memory that others will take back.
  flights_.clear();
  stretches_.clear();
  count_time();
  core_.readers_running.fetch_sub(1, std::memory_order_release);
  core_.ready_or_stuck.notify();
}

Result<void> NetworkReader::work() {
  for (const CheckpointObject& entry : core_.checkpoint->objects) {
    Store* const store = TRY(core_.checkpoint->stores->of(entry.object.uri));
    stores_.push_back(store->remote());
  }
  loop_ = TRY(EventLoop::make(kIdleConnections, &wake_));
  last_progress_ = loop_->now();
  while (!core_.is_stopped() && (!all_claimed_ || !stretches_.empty()))
    step();
  return {};
}

void NetworkReader::step() {
  is_shut_out_ = false;
  // Before windows are asked.
  window_moves_ = core_.window_moves.load(std::memory_order_acquire);
  while (in_flight() < share_.connections(network_number_) && start_next()) {
  }
  counters_.connections.store(loop_->active(), std::memory_order_relaxed);
  counters_.most_connections.store(
      std::max(counters_.most_connections.load(std::memory_order_relaxed), loop_->active()),
      std::memory_order_relaxed);
  if (all_claimed_ && stretches_.empty()) return;

  // With nothing of its own still to come, not even a next attempt.
  const bool sleeps_for_window =
      is_shut_out_ && flights_.empty() && next_event() == SteadyTime::max();
  const bool sleeps_for_bandwidth =
      core_.throttle.is_on() && flights_.empty() && !stretches_.empty() && !sleeps_for_window;
  const std::int64_t began = steady_now_ns();
  wake_.arm();
  if (sleeps_for_window) core_.begins_to_wait(counters_, window_moves_);
  const bool has_reason =
      core_.is_stopped() || (is_shut_out_ && core_.has_moved_since(window_moves_));
  std::vector<Transfer*> finished;
  loop_->turn(has_reason ? SteadyTime{} : next_event(), finished);
  wake_.disarm();
  if (sleeps_for_window) {
    counters_.waits_since.store(0, std::memory_order_relaxed);
    add(counters_.window_wait_ns, static_cast<std::uint64_t>(steady_now_ns() - began));
    last_progress_ = loop_->now();
  }
  if (sleeps_for_bandwidth)
    add(counters_.bandwidth_wait_ns, static_cast<std::uint64_t>(steady_now_ns() - began));
  for (Transfer* transfer : finished)
    finish(*transfer);
  drop_finished();
  if (loop_->now() >= next_watch_) watch();
}

// ---- Getting work ----

std::uint32_t NetworkReader::in_flight() const noexcept {
  return static_cast<std::uint32_t>(flights_.size()) - hedges_in_flight_;
}

// A stretch that may be asked for now. One that the window shuts out does not keep others, which
// the window may wait for, from their next attempt.
NetworkReader::Stretch* NetworkReader::stretch_that_is_due() {
  const SteadyTime now = loop_->now();
  for (const auto& one : stretches_) {
    Stretch& stretch = *one;
    if (stretch.flights != 0 || stretch.not_before > now) continue;
    if (stretch.is_unquiet && !is_quiet(stretch)) continue;
    if (admit(stretch)) return &stretch;
    is_shut_out_ = true;
  }
  return nullptr;
}

// Whether all that was taken back has been copied to its device: what is copied after it lasts.
bool NetworkReader::is_quiet(Stretch& stretch) {
  for (std::size_t i = stretch.landed_chunks; i < stretch.chunks.size(); ++i) {
    if (core_.staging->is_quiet(chunk_at(stretch, i))) continue;
    stretch.not_before = loop_->now() + kCopiesAwaitedFor;
    return false;
  }
  stretch.is_unquiet = false;
  return true;
}

bool NetworkReader::admits(const Stretch& stretch) const {
  return std::all_of(stretch.chunks.begin(), stretch.chunks.end(), [&](std::uint32_t number) {
    return core_.admits(core_.plan.chunks()[number]);
  });
}

// Whether the window lets its bytes in, all of them.
bool NetworkReader::admit(Stretch& stretch) {
  if (admits(stretch)) return true;
  // The first chunks alone may be let in.
  for (std::size_t count = stretch.chunks.size() - 1; count > 0; --count) {
    if (!core_.admits(chunk_at(stretch, count - 1))) continue;
    split_at(stretch, count);
    return true;
  }
  return false;
}

// False if there is nothing to start now.
bool NetworkReader::start_next() {
  if (core_.is_stopped()) return false;
  // What waits for its next attempt is not started now, so that others can be; but if everything
  // fails, claiming more would only make more failures.
  const bool may_claim = stretches_.size() < 2 * std::size_t{share_.connections(network_number_)};
  Stretch* stretch = stretch_that_is_due();
  if (stretch == nullptr && !all_claimed_ && !is_shut_out_ && may_claim) {
    claim_more();
    stretch = stretch_that_is_due();
  }
  if (stretch == nullptr && all_claimed_) stretch = split_largest();
  if (stretch == nullptr) return false;
  if (core_.throttle.is_on() && stretch->not_before == SteadyTime{}) {
    stretch->not_before = core_.throttle.reserve(stretch->left(), loop_->now());
    if (stretch->not_before > loop_->now()) return true;
  }
  return fly(*stretch, false);
}

std::uint32_t NetworkReader::chunks_per_request() const {
  // A cap on bandwidth holds at short range only if requests are short.
  if (settings_.chunk_bytes != 0 || core_.throttle.is_on()) return 1;
  // What each connection would have to bring if all ended at the same time.
  std::uint64_t claimed = 0;
  for (const auto& stretch : stretches_)
    claimed += stretch->left();
  const double share =
      static_cast<double>(core_.network_chunks.left()) * chunk_bytes_ / share_.target() +
      static_cast<double>(claimed) / share_.connections(network_number_);
  // And no less than what makes the wait for the first byte a tenth: what one connection then has
  // too much of in the end is split off.
  double bytes = std::max(share, kTimesFirstByte * first_byte_s_ * rate_);
  bytes = std::min(bytes, static_cast<double>(kLargestRequestBytes));
  // The window moves only as its first bytes come: requests must not fill all of it.
  for (const PlanMemory& memory : core_.plan.memories()) {
    const auto window = static_cast<double>(memory.ring_bytes);
    if (window > 0) bytes = std::min(bytes, window / (4.0 * share_.target()));
  }
  return std::max(1U, static_cast<std::uint32_t>(std::ceil(bytes / chunk_bytes_)));
}

void NetworkReader::claim_more() {
  const auto [first, end] = core_.network_chunks.claim_some(chunks_per_request());
  all_claimed_ = first == end;
  if (!all_claimed_) split_claim(first, end);
}

// One stretch for each run of chunks that follow each other in one object.
void NetworkReader::split_claim(std::uint32_t first, std::uint32_t end) {
  Stretch* open = nullptr;
  for (std::uint32_t at = first; at < end; ++at) {
    const std::uint32_t number = core_.network_chunks.number(at);
    const Chunk& chunk = core_.plan.chunks()[number];
    const bool goes_on = open != nullptr && open->object == chunk.object &&
                         open->end == chunk.offset && chunk_at(*open, 0).memory == chunk.memory;
    if (!goes_on) {
      auto made = std::make_unique<Stretch>(stores_[chunk.object]->limits().retry);
      made->object = chunk.object;
      made->next = made->confirmed = chunk.offset;
      open = made.get();
      stretches_.push_back(std::move(made));
    }
    open->chunks.push_back(number);
    open->end = chunk.end();
  }
}

// Nothing is left to claim, and a connection is idle: it takes the end of the stretch that would be
// whole last. nullptr if none is worth it.
NetworkReader::Stretch* NetworkReader::split_largest() {
  if (settings_.chunk_bytes != 0 || rates_ == 0) return nullptr;
  Stretch* largest = nullptr;
  for (const auto& stretch : stretches_) {
    if (stretch->flights != 1 || stretch->chunks.size() - stretch->filled_chunks < 2) continue;
    if (largest == nullptr || stretch->left() > largest->left()) largest = stretch.get();
  }
  if (largest == nullptr) return nullptr;
  // What the first request brings until the second one has its first byte.
  const double meanwhile = first_byte_s_ * rate_;
  const auto left = static_cast<double>(largest->left());
  if (left < std::max(static_cast<double>(kLeastSplitBytes), 4 * meanwhile)) return nullptr;
  const std::uint64_t keep = largest->next + static_cast<std::uint64_t>((left + meanwhile) / 2);
  std::size_t first = largest->filled_chunks + 1;
  while (first + 1 < largest->chunks.size() && chunk_at(*largest, first).offset < keep)
    ++first;
  return split_at(*largest, first);
}

// Makes the chunks from number `first` of the stretch on a stretch of their own.
NetworkReader::Stretch* NetworkReader::split_at(Stretch& stretch, std::size_t first) {
  auto rest = std::make_unique<Stretch>(stores_[stretch.object]->limits().retry);
  rest->object = stretch.object;
  rest->chunks.assign(stretch.chunks.begin() + static_cast<std::ptrdiff_t>(first),
                      stretch.chunks.end());
  rest->next = rest->confirmed = core_.plan.chunks()[rest->chunks.front()].offset;
  rest->end = stretch.end;
  stretch.chunks.resize(first);
  stretch.end = chunk_at(stretch, first - 1).end();
  // What was cached of where bytes go may lie beyond the new end.
  stretch.piece_begin = stretch.piece_end = 0;
  stretches_.push_back(std::move(rest));
  return stretches_.back().get();
}

const Chunk& NetworkReader::chunk_at(const Stretch& stretch, std::size_t index) const {
  return core_.plan.chunks()[stretch.chunks[index]];
}

// ---- Doing it ----

bool NetworkReader::fly(Stretch& stretch, bool is_hedge) {
  const Object& object = object_of(stretch);
  RemoteStore& store = *stores_[stretch.object];
  // A hedge brings again what is not confirmed, so that it can vouch for it.
  const ByteRange wanted{stretch.confirmed, stretch.end - stretch.confirmed};
  auto request = store.range_request(object.uri, wanted, object.etag);
  if (!request) {
    core_.fail(std::move(request).error());
    return false;
  }
  auto flight = std::make_unique<Flight>(*this, stretch, wanted, object, *std::move(request));
  TransferOptions options;
  options.fresh_connection = is_hedge || stretch.wants_fresh_connection;
  options.connect_timeout = store.limits().connect_timeout;
  options.stall_timeout = store.limits().stall_timeout;
  options.receive_buffer_bytes = share_.receive_buffer_bytes();
  const HttpRequest& http = flight->request.http;
  const Endpoint endpoint{http.origin, ""};
  const bool is_direct = !http.route || http.route->proxy.empty();
  if (is_direct && !is_ip_address(endpoint.host())) {
    flight->host = &share_.addresses_of(std::string(endpoint.host()));
    options.address = flight->host->borrow(loop_->now());
  }
  flight->is_hedge = is_hedge;
  flight->transfer = std::make_unique<Transfer>(http, *flight, std::move(options));
  auto added = loop_->add(*flight->transfer);
  if (!added) {
    core_.fail(std::move(added).error());
    return false;
  }
  flight->began = flight->marked_at = loop_->now();
  add(counters_.network_requests, 1);
  ++stretch.flights;
  if (is_hedge) ++hedges_in_flight_;
  flights_.push_back(std::move(flight));
  return true;
}

// ---- What became of it ----

void NetworkReader::finish(Transfer& transfer) {
  const auto at = std::find_if(flights_.begin(), flights_.end(),
                               [&](const auto& one) { return one->transfer.get() == &transfer; });
  Flight& flight = **at;
  const TransferFault fault = transfer.fault();
  const bool has_failed_host = fault == TransferFault::unreachable ||
                               fault == TransferFault::stalled || fault == TransferFault::handshake;
  if (flight.host != nullptr && !transfer.options().address.empty())
    flight.host->give_back(transfer.options().address, has_failed_host, loop_->now());
  flight.host = nullptr;
  if (flight.is_complete()) {
    budget_.succeeded();
    // Over all of it: what came since the last look may be one burst.
    note_rate(static_cast<double>(flight.received()),
              in_seconds(loop_->now() - flight.first_byte_at));
  }
  Stretch* const stretch = flight.stretch;
  if (stretch != nullptr && flight.is_complete()) {
    flight.has_ended_well = true;
    if (stretch->writer == &flight || take_over(flight)) settle(*stretch);
  } else if (stretch != nullptr) {
    break_off(flight, is_refused_whole(transfer, flight));
  }
  end_flight(flight);
  if (stretch != nullptr && !stretch->is_whole() && !flight.is_complete()) retry(*stretch, flight);
  flights_.erase(at);
}

void NetworkReader::retry(Stretch& stretch, const Flight& flight) {
  RemoteStore& store = *stores_[stretch.object];
  Verdict verdict = store.judge(object_of(stretch).uri, flight.request, *flight.transfer, flight);
  if (verdict.again == Again::throttled) share_.throttled(loop_->now());
  add(counters_.retries, 1);
  // A hedge that failed is no loss while the first request goes on.
  if (stretch.flights != 0 && verdict.again != Again::never) return;
  const bool made_progress =
      stretch.next > std::max(stretch.furthest_at_failure, flight.wanted().offset);
  stretch.furthest_at_failure = std::max(stretch.furthest_at_failure, stretch.next);
  const auto delay = stretch.attempts.next(verdict, made_progress);
  if (!delay || !budget_.take(verdict.again))
    return core_.fail(stretch.attempts.give_up(std::move(verdict.error)));
  stretch.not_before = loop_->now() + *delay;
  stretch.wants_fresh_connection = verdict.wants_fresh_connection;
  stretch.was_hedged = false;
}

void NetworkReader::end_flight(Flight& flight) {
  if (flight.host != nullptr && !flight.transfer->options().address.empty())
    flight.host->give_back(flight.transfer->options().address, false, loop_->now());
  flight.host = nullptr;
  if (std::exchange(flight.is_hedge, false)) --hedges_in_flight_;
  Stretch* const stretch = std::exchange(flight.stretch, nullptr);
  if (stretch == nullptr) return;
  --stretch->flights;
  if (stretch->writer == &flight) stretch->writer = nullptr;
}

// Stretches that are whole; and the requests that were made for them and lost the race, or that
// bring what can no longer be used.
void NetworkReader::drop_finished() {
  for (auto at = flights_.begin(); at != flights_.end();) {
    Flight& flight = **at;
    const bool is_lost = flight.stretch == nullptr || flight.stretch->is_whole();
    if (!is_lost) {
      ++at;
      continue;
    }
    end_flight(flight);
    at = flights_.erase(at);
  }
  stretches_.remove_if([](const auto& stretch) { return stretch->is_whole(); });
}

SteadyTime NetworkReader::next_event() const {
  SteadyTime until = flights_.empty() ? SteadyTime::max() : next_watch_;
  for (const auto& stretch : stretches_) {
    if (stretch->flights == 0 && stretch->not_before > loop_->now())
      until = std::min(until, stretch->not_before);
  }
  return until;
}

}  // namespace streamer::core
