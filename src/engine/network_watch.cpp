// SPDX-License-Identifier: Apache-2.0
// How a network reader measures its requests, and what it does about slow ones.
#include <fmt/format.h>

#include <algorithm>

#include "engine/network_reader.hpp"

namespace streamer::core::inline engine {

namespace {

constexpr Milliseconds kWatchEvery{50};
// Hedges: only once there is something to compare with, and only for a small share of the bytes.
constexpr std::uint32_t kMeasuredBeforeHedges = 4;
constexpr double kHedgeShare = 0.03;
constexpr std::uint64_t kHedgeAllowanceBytes = 16 * kMiB;
constexpr double kLeastHedgeAge_s = 0.3;

}  // namespace

void NetworkReader::first_byte_came(InFlightRequest& request) {
  request.first_byte_at = request.marked_at = loop_->now();
  if (request.range != nullptr) {
    stores_[request.range->object]->was_accepted(object_of(*request.range).uri,
                                                 request.signed_request);
  }
  // The first samples weigh more, so that the initial guess soon disappears.
  const double weight = std::max(0.1, 1.0 / (first_bytes_ + 1));
  first_byte_s_ += weight * (in_seconds(request.first_byte_at - request.began) - first_byte_s_);
  ++first_bytes_;
}

void NetworkReader::note_rate(double bytes, double time) {
  if (bytes <= 0) return;
  const double weight = std::max(0.1, 1.0 / (rates_ + 1));
  rate_ += weight * (bytes / std::max(time, 1e-4) - rate_);
  ++rates_;
}

// The bytes per second of a request while its body arrives, over all requests in that state. One or
// two alone do not show what is usual: they may be the slow ones.
void NetworkReader::measure_rates() {
  double bytes = 0;
  double time = 0;
  std::uint32_t measured = 0;
  for (const auto& request : requests_) {
    if (request->first_byte_at == SteadyTime{}) continue;
    ++measured;
    bytes += static_cast<double>(request->received() - request->marked_bytes);
    time += in_seconds(loop_->now() - request->marked_at);
    request->marked_bytes = request->received();
    request->marked_at = loop_->now();
  }
  if (measured > 2) note_rate(bytes, time);
}

void NetworkReader::watch() {
  const SteadyTime now = loop_->now();
  next_watch_ = now + kWatchEvery;
  clock_.count(counters_);
  const std::uint64_t bytes = counters_.bytes_network.load(std::memory_order_relaxed);
  const bool is_busy = requests_in_flight() >= share_.connections(number_);
  share_.observe(now, bytes - std::exchange(bytes_observed_, bytes),
                 std::chrono::nanoseconds(static_cast<std::int64_t>(first_byte_s_ * 1e9)), is_busy);
  for (auto at = requests_.begin(); at != requests_.end();) {
    InFlightRequest& request = **at++;
    if (!is_too_slow(request)) continue;
    PendingRange& range = *request.range;
    break_off(request, false);
    range.not_before = now;
    range.wants_fresh_connection = true;
    add(counters_.retries, 1);
    end_request(request);
    requests_.erase(std::prev(at));
  }
  measure_rates();
  if (settings_.get(setting::kHedging) && std::min(first_bytes_, rates_) >= kMeasuredBeforeHedges) {
    for (const auto& range : ranges_)
      hedge_if_slow(*range);
  }
  // Behind a closed window no byte can arrive: that is up to the consumer, not the network.
  if (now - last_progress_ > settings_.get(setting::kProgressTimeoutMs) && !is_shut_out_)
    landing_.fail(silence());
}

// No byte over any connection; about the range that has waited longest.
Error NetworkReader::silence() const {
  ErrorFields fields;
  fields.kind = ErrorKind::timed_out;
  std::string from;
  if (!ranges_.empty()) {
    const PendingRange& range = *ranges_.front();
    fields.uri = object_of(range).uri.text();
    fields.range = {range.next, range.left()};
    fields.host = range.host;
    if (!range.host.empty()) from = range.host + ": ";
  }
  fields.message = fmt::format(
      "{}no byte arrived for {} s over any of {} connections; check the store and the network, or "
      "raise progress_timeout_ms",
      from, in_seconds(settings_.get(setting::kProgressTimeoutMs)), share_.connections(number_));
  return Error(std::move(fields));
}

// Compares with the rate that was set, once the request has lasted as long as a stall may.
bool NetworkReader::is_too_slow(const InFlightRequest& request) const {
  if (settings_.get(setting::kLowSpeedLimit) == 0 || request.range == nullptr) return false;
  const double lasted = in_seconds(loop_->now() - request.began);
  const double window = in_seconds(request.transfer->options().stall_timeout);
  return lasted > window &&
         static_cast<double>(request.received()) <
             lasted * static_cast<double>(settings_.get(setting::kLowSpeedLimit));
}

// A second request pays off if it would most likely end well before the first one.
void NetworkReader::hedge_if_slow(PendingRange& range) {
  if (range.requests != 1 || range.was_hedged || range.is_whole()) return;
  const auto at = std::find_if(requests_.begin(), requests_.end(),
                               [&](const auto& one) { return one->range == &range; });
  if (at == requests_.end()) return;
  const InFlightRequest& request = **at;
  const double age = in_seconds(loop_->now() - request.began);
  const auto left = static_cast<double>(range.end - range.confirmed);
  // A new connection: a few round trips to make it, and one for the answer.
  const double anew = 3 * first_byte_s_ + left / rate_;
  const double usual = first_byte_s_ + static_cast<double>(request.wanted().size) / rate_;
  if (age < kLeastHedgeAge_s || age < 1.5 * usual) {
    // Younger than requests usually get: of interest only if it is well past a usual first byte.
    if (age < kLeastHedgeAge_s || age < 4 * first_byte_s_) return;
  }
  const double own_rate = static_cast<double>(request.received()) / age;
  const double own = own_rate > 0 ? left / own_rate : 1e9;
  if (own < 3 * anew + 0.1) return;
  const auto wanted_bytes = static_cast<double>(landing_.plan().wanted_bytes());
  const bool has_budget = static_cast<double>(hedged_bytes_) + left <
                          kHedgeShare * wanted_bytes + static_cast<double>(kHedgeAllowanceBytes);
  if (!has_budget || hedges_in_flight_ >= std::max(2U, requests_in_flight() / 8)) return;
  hedged_bytes_ += static_cast<std::uint64_t>(left);
  range.was_hedged = true;
  add(counters_.hedges, 1);
  send(range, true);
}

}  // namespace streamer::core::inline engine
