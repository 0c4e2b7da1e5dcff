// SPDX-License-Identifier: Apache-2.0
#include "engine/network_reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>

#include "base/chance.hpp"
#include "base/fits_in_memory.hpp"
#include "engine/request_size.hpp"

namespace streamer::core::inline engine {

namespace {

// As many as a load ever has, unless a setting says more.
constexpr std::uint32_t kConnections = 256;
constexpr std::uint64_t kLeastSplitBytes = 8 * kMiB;
constexpr Milliseconds kCopiesAwaitedFor{2};

}  // namespace

NetworkReader::NetworkReader(const Shared& shared, WakeFd& wake, std::uint32_t number,
                             ReaderCounters& mine)
    : landing_(shared.landing),
      staging_(shared.staging),
      objects_(shared.objects),
      chunks_(shared.chunks),
      share_(shared.share),
      counters_(mine),
      wake_(wake),
      idle_loops_(shared.loops),
      settings_(shared.settings),
      number_(number),
      chunk_bytes_(
          static_cast<double>(std::max<std::uint64_t>(landing_.plan().largest_chunk_bytes(), 1))),
      budget_(settings_.get(setting::kConnections) != 0 ? settings_.get(setting::kConnections)
                                                        : kConnections) {}

NetworkReader::~NetworkReader() = default;

void NetworkReader::run() {
  // Allocated in advance: there may be no memory for it when it is needed.
  Error out_of_memory(ErrorKind::out_of_memory, "not enough memory for a network reader");
  const bool fits = fits_in_memory([&] {
    auto outcome = work();
    if (!outcome) landing_.fail(std::move(outcome).error());
  });
  if (!fits) landing_.fail(std::move(out_of_memory));
  // Requests in flight would go on writing to memory that is reused after this thread has ended.
  const bool has_read_all = ranges_.empty();
  requests_.clear();
  ranges_.clear();
  if (fits && has_read_all) keep_connections();
  clock_.count(counters_);
}

Result<void> NetworkReader::work() {
  for (const SourceObject& one : objects_)
    stores_.push_back(one.store->remote());
  if (idle_loops_ != nullptr) loop_ = idle_loops_->take();
  if (!loop_) {
    loop_ = TRY(EventLoop::make(std::max(settings_.get(setting::kConnections), kConnections)));
  }
  TRY(loop_->wake_by(&wake_));
  last_progress_ = loop_->now();
  while (!landing_.is_stopped() && (!all_claimed_ || !ranges_.empty()))
    step();
  return {};
}

// The next load goes on with them. Not after a failure, or if the load ended before its bytes came.
void NetworkReader::keep_connections() {
  if (idle_loops_ == nullptr || !loop_) return;
  static_cast<void>(fits_in_memory([&] {
    if (loop_->wake_by(nullptr)) idle_loops_->give(std::move(loop_));
  }));
}

void NetworkReader::step() {
  is_shut_out_ = false;
  // Read before windows are asked, so that a move in between is noticed below.
  window_moves_ = landing_.window_moves();
  while (requests_in_flight() < share_.connections(number_) && start_next()) {
  }
  counters_.connections.store(loop_->active(), std::memory_order_relaxed);
  counters_.most_connections.store(
      std::max(counters_.most_connections.load(std::memory_order_relaxed), loop_->active()),
      std::memory_order_relaxed);
  if (all_claimed_ && ranges_.empty()) return;

  // Only with nothing else to wait for, neither an answer nor the time of a next attempt: this
  // thread then counts as stuck (Landing::is_stuck()).
  const bool sleeps_for_window =
      is_shut_out_ && requests_.empty() && next_event() == SteadyTime::max();
  const bool sleeps_for_bandwidth =
      landing_.is_capped() && requests_.empty() && !ranges_.empty() && !sleeps_for_window;
  const std::int64_t began = steady_now_ns();
  // Armed before the last look: a stop or a move after it ends the turn.
  wake_.arm();
  if (sleeps_for_window) landing_.begins_to_wait(counters_, window_moves_);
  const bool has_reason =
      landing_.is_stopped() || (is_shut_out_ && landing_.has_moved_since(window_moves_));
  SteadyTime until = has_reason ? SteadyTime{} : next_event();
  if (sleeps_for_window) until = std::min(until, landing_.looks_again_at().value_or(until));
  std::vector<Transfer*> finished;
  loop_->turn(until, finished);
  wake_.disarm();
  if (sleeps_for_window) {
    landing_.has_waited(counters_, began);
    // The consumer kept the window closed; that time is not the network's.
    last_progress_ = loop_->now();
  }
  if (sleeps_for_bandwidth) {
    add(counters_.bandwidth_wait_ns, static_cast<std::uint64_t>(steady_now_ns() - began));
    // A range that no request was made for: no byte of it could arrive.
    if (std::any_of(ranges_.begin(), ranges_.end(),
                    [](const auto& one) { return one->host.empty(); }))
      last_progress_ = loop_->now();
  }
  for (Transfer* transfer : finished)
    finish(*transfer);
  drop_finished();
  if (loop_->now() >= next_watch_) watch();
}

// ---- Claiming work ----

std::uint32_t NetworkReader::requests_in_flight() const noexcept {
  return static_cast<std::uint32_t>(requests_.size()) - hedges_in_flight_;
}

// A range that may be requested now. One that the window holds back does not hold back others: the
// window may be waiting for them.
PendingRange* NetworkReader::range_that_is_due() {
  const SteadyTime now = loop_->now();
  for (const auto& one : ranges_) {
    PendingRange& range = *one;
    if (range.requests != 0 || range.not_before > now) continue;
    if (range.is_unquiet && !is_quiet(range)) continue;
    if (admit(range)) return &range;
    is_shut_out_ = true;
  }
  return nullptr;
}

// Whether copies of bytes that were taken back are done: only copies after them are sure to last.
bool NetworkReader::is_quiet(PendingRange& range) {
  for (std::size_t i = range.landed_chunks; i < range.chunks.size(); ++i) {
    if (staging_->is_quiet(chunk_at(range, i))) continue;
    range.not_before = loop_->now() + kCopiesAwaitedFor;
    return false;
  }
  range.is_unquiet = false;
  return true;
}

bool NetworkReader::admits(const PendingRange& range) const {
  return std::all_of(range.chunks.begin(), range.chunks.end(), [&](std::uint32_t number) {
    return landing_.admits(landing_.plan().chunks()[number]);
  });
}

// Whether the window admits the range; splits it if only its first chunks are admitted.
bool NetworkReader::admit(PendingRange& range) {
  if (admits(range)) return true;
  // The first chunks alone may be admitted; the rest then waits as a range of its own.
  for (std::size_t count = range.chunks.size() - 1; count > 0; --count) {
    if (!landing_.admits(chunk_at(range, count - 1))) continue;
    split_at(range, count);
    return true;
  }
  return false;
}

// False if there is nothing to start now.
bool NetworkReader::start_next() {
  if (landing_.is_stopped()) return false;
  // Ranges that wait for their next attempt leave connections to others; but if everything fails,
  // claiming more would only add failures.
  const bool may_claim = ranges_.size() < 2 * std::size_t{share_.connections(number_)};
  PendingRange* range = range_that_is_due();
  if (range == nullptr && !all_claimed_ && !is_shut_out_ && may_claim) {
    claim_more();
    range = range_that_is_due();
  }
  if (range == nullptr && all_claimed_) range = split_largest();
  if (range == nullptr) return false;
  // A share of the bandwidth is reserved once per range; retries have paid already.
  if (landing_.is_capped() && range->not_before == SteadyTime{}) {
    range->not_before = landing_.reserve(range->left(), loop_->now());
    if (range->not_before > loop_->now()) return true;
  }
  return send(*range, false);
}

std::uint32_t NetworkReader::chunks_per_request() const {
  // A cap on bandwidth holds for short times only if requests are short.
  if (settings_.get(setting::kChunkBytes) != 0 || landing_.is_capped()) return 1;
  const std::uint32_t unclaimed = chunks_.left();
  RequestNeed need{.unclaimed_bytes = static_cast<double>(unclaimed) * chunk_bytes_,
                   .asked_bytes = static_cast<double>(chunks_.size() - unclaimed) * chunk_bytes_,
                   .connections = share_.target(),
                   .own_connections = share_.connections(number_),
                   .first_byte_s = first_byte_s_,
                   .bytes_per_s = rate_};
  for (const auto& range : ranges_)
    need.claimed_bytes += static_cast<double>(range->left());
  for (std::uint32_t i = 0; i < landing_.plan().memories().size(); ++i) {
    const auto window = static_cast<double>(landing_.window_bytes(i));
    if (window > 0 && (need.window_bytes == 0 || window < need.window_bytes))
      need.window_bytes = window;
  }
  const double bytes = request_bytes(need);
  return std::max(1U, static_cast<std::uint32_t>(std::ceil(bytes / chunk_bytes_)));
}

void NetworkReader::claim_more() {
  const auto [first, end] = chunks_.claim_some(chunks_per_request());
  all_claimed_ = first == end;
  if (!all_claimed_) split_claim(first, end);
}

std::unique_ptr<PendingRange> NetworkReader::make_range(std::uint32_t object, std::uint64_t begin) {
  auto made = std::make_unique<PendingRange>(stores_[object]->limits().retry);
  made->object = object;
  made->next = made->confirmed = begin;
  const SourceObject& one = objects_[object];
  if (one.cached) made->cache_run.emplace(*one.store->cache(), one.cached);
  return made;
}

// One range for each run of consecutive chunks of one object.
void NetworkReader::split_claim(std::uint32_t first, std::uint32_t end) {
  PendingRange* open = nullptr;
  for (std::uint32_t at = first; at < end; ++at) {
    const std::uint32_t number = chunks_.number(at);
    const Chunk& chunk = landing_.plan().chunks()[number];
    const bool goes_on = open != nullptr && open->object == chunk.object &&
                         open->end == chunk.offset && chunk_at(*open, 0).memory == chunk.memory;
    if (!goes_on) {
      ranges_.push_back(make_range(chunk.object, chunk.offset));
      open = ranges_.back().get();
    }
    open->chunks.push_back(number);
    open->end = chunk.end();
  }
}

// Nothing is left to claim, and a connection is idle: it takes the end of the range that would be
// complete last. nullptr if no range is worth splitting.
PendingRange* NetworkReader::split_largest() {
  if (settings_.get(setting::kChunkBytes) != 0 || rates_ == 0) return nullptr;
  PendingRange* largest = nullptr;
  for (const auto& range : ranges_) {
    if (range->requests != 1 || range->chunks.size() - range->filled_chunks < 2) continue;
    if (largest == nullptr || range->left() > largest->left()) largest = range.get();
  }
  if (largest == nullptr) return nullptr;
  // What the first request brings before the second one gets its first byte.
  const double meanwhile = first_byte_s_ * rate_;
  const auto left = static_cast<double>(largest->left());
  if (left < std::max(static_cast<double>(kLeastSplitBytes), 4 * meanwhile)) return nullptr;
  const std::uint64_t keep = largest->next + static_cast<std::uint64_t>((left + meanwhile) / 2);
  std::size_t first = largest->filled_chunks + 1;
  while (first + 1 < largest->chunks.size() && chunk_at(*largest, first).offset < keep)
    ++first;
  return split_at(*largest, first);
}

// Makes a new range of the chunks of the range from index `first` on.
PendingRange* NetworkReader::split_at(PendingRange& range, std::size_t first) {
  auto rest = make_range(range.object, chunk_at(range, first).offset);
  rest->chunks.assign(range.chunks.begin() + static_cast<std::ptrdiff_t>(first),
                      range.chunks.end());
  rest->end = range.end;
  range.chunks.resize(first);
  range.end = chunk_at(range, first - 1).end();
  // The cached piece may lie beyond the new end.
  range.piece_begin = range.piece_end = 0;
  ranges_.push_back(std::move(rest));
  return ranges_.back().get();
}

const Chunk& NetworkReader::chunk_at(const PendingRange& range, std::size_t index) const {
  return landing_.plan().chunks()[range.chunks[index]];
}

// ---- Requesting ----

bool NetworkReader::send(PendingRange& range, bool is_hedge) {
  const Object& object = object_of(range);
  RemoteStore& store = *stores_[range.object];
  // A hedge starts at the first unconfirmed byte, so that it can confirm what the first request
  // brought.
  const ByteRange wanted{range.confirmed, range.end - range.confirmed};
  auto signed_request = store.range_request(object.uri, wanted, object.etag);
  if (!signed_request) {
    landing_.fail(std::move(signed_request).error());
    return false;
  }
  range.host = signed_request->http.host();
  RangeReceiver& receiver = *this;
  PinnedVersion expected = store.expected(object, *signed_request);
  auto request = std::make_unique<InFlightRequest>(receiver, range, wanted, std::move(expected),
                                                   *std::move(signed_request));
  TransferOptions options;
  options.fresh_connection = is_hedge || range.wants_fresh_connection;
  options.connect_timeout = store.limits().connect_timeout;
  options.stall_timeout = store.limits().stall_timeout;
  options.receive_buffer_bytes = share_.receive_buffer_bytes();
  options.reads_ahead = true;
  const HttpRequest& http = request->signed_request.http;
  const Endpoint endpoint{http.origin, ""};
  // A proxy resolves the host's name itself.
  const bool is_direct = !http.route || http.route->proxy.empty();
  if (is_direct && !is_ip_address(endpoint.host())) {
    request->host = &share_.addresses_of(std::string(endpoint.host()));
    options.address = request->host->borrow(loop_->now());
  }
  request->is_hedge = is_hedge;
  request->transfer = std::make_unique<Transfer>(http, *request, std::move(options));
  auto added = loop_->add(*request->transfer);
  if (!added) {
    landing_.fail(std::move(added).error());
    return false;
  }
  request->began = request->marked_at = loop_->now();
  add(counters_.network_requests, 1);
  ++range.requests;
  if (is_hedge) ++hedges_in_flight_;
  requests_.push_back(std::move(request));
  return true;
}

// ---- Ending requests ----

void NetworkReader::finish(Transfer& transfer) {
  const auto at = std::find_if(requests_.begin(), requests_.end(),
                               [&](const auto& one) { return one->transfer.get() == &transfer; });
  InFlightRequest& request = **at;
  const TransferFault fault = transfer.fault();
  const bool has_failed_host = fault == TransferFault::unreachable ||
                               fault == TransferFault::stalled || fault == TransferFault::handshake;
  if (request.host != nullptr && !transfer.options().address.empty())
    request.host->give_back(transfer.options().address, has_failed_host, loop_->now());
  request.host = nullptr;
  if (request.is_complete()) {
    budget_.succeeded();
    // Over the whole answer: the bytes since the last measurement may be one burst.
    note_rate(static_cast<double>(request.received()),
              in_seconds(loop_->now() - request.first_byte_at));
  }
  PendingRange* const range = request.range;
  if (range != nullptr && request.is_complete()) {
    request.has_ended_well = true;
    if (range->writer == &request || take_over(request)) settle(*range);
  } else if (range != nullptr) {
    break_off(request, is_refused_whole(transfer, request));
  }
  end_request(request);
  if (range != nullptr && !range->is_whole() && !request.is_complete()) retry(*range, request);
  requests_.erase(at);
}

void NetworkReader::retry(PendingRange& range, const InFlightRequest& request) {
  RemoteStore& store = *stores_[range.object];
  Verdict verdict =
      store.judge(object_of(range).uri, request.signed_request, *request.transfer, request);
  if (verdict.again == Again::throttled) share_.throttled(loop_->now());
  add(counters_.retries, 1);
  // A failed hedge does not matter while the first request goes on.
  if (range.requests != 0 && verdict.again != Again::never) return;
  // Beyond all earlier failures: a store that always breaks off at the same byte must not be
  // retried for ever, although each attempt brings bytes.
  const bool made_progress =
      range.next > std::max(range.furthest_at_failure, request.wanted().offset);
  range.furthest_at_failure = std::max(range.furthest_at_failure, range.next);
  const auto delay = range.attempts.next(verdict, made_progress);
  if (!delay || !budget_.take(verdict.again))
    return landing_.fail(range.attempts.give_up(std::move(verdict.error)));
  range.not_before = loop_->now() + *delay;
  range.wants_fresh_connection = verdict.wants_fresh_connection;
  range.was_hedged = false;
}

void NetworkReader::end_request(InFlightRequest& request) {
  if (request.host != nullptr && !request.transfer->options().address.empty())
    request.host->give_back(request.transfer->options().address, false, loop_->now());
  request.host = nullptr;
  if (std::exchange(request.is_hedge, false)) --hedges_in_flight_;
  PendingRange* const range = std::exchange(request.range, nullptr);
  if (range == nullptr) return;
  --range->requests;
  if (range->writer == &request) range->writer = nullptr;
}

// Drops ranges that are complete, and requests that lost the race for them or bring bytes that can
// no longer be used.
void NetworkReader::drop_finished() {
  for (auto at = requests_.begin(); at != requests_.end();) {
    InFlightRequest& request = **at;
    const bool is_lost = request.range == nullptr || request.range->is_whole();
    if (!is_lost) {
      ++at;
      continue;
    }
    end_request(request);
    at = requests_.erase(at);
  }
  ranges_.remove_if([](const auto& range) { return range->is_whole(); });
}

SteadyTime NetworkReader::next_event() const {
  SteadyTime until = requests_.empty() ? SteadyTime::max() : next_watch_;
  for (const auto& range : ranges_) {
    if (range->requests == 0 && range->not_before > loop_->now())
      until = std::min(until, range->not_before);
  }
  return until;
}

}  // namespace streamer::core::inline engine
