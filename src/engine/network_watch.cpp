// SPDX-License-Identifier: Apache-2.0
// What a network reader measures of its requests, and what it does about slow ones.
#include <fmt/format.h>

#include <algorithm>

#include "engine/network_flight.hpp"
#include "engine/reader_clock.hpp"

namespace streamer::core {

namespace {

constexpr Milliseconds kWatchEvery{50};
// Hedges: not before there is something to compare with, and never much.
constexpr std::uint32_t kMeasuredBeforeHedges = 4;
constexpr double kHedgeShare = 0.03;
constexpr std::uint64_t kHedgeAllowanceBytes = 16 * kMiB;
constexpr double kLeastHedgeAge_s = 0.3;

}  // namespace

void NetworkReader::note_first_byte(Flight& flight) {
  flight.first_byte_at = flight.marked_at = loop_->now();
  if (flight.stretch != nullptr) {
    stores_[flight.stretch->object]->was_accepted(object_of(*flight.stretch).uri, flight.request);
  }
  // The first ones weigh more, so that the start's guesses are soon gone.
  const double weight = std::max(0.1, 1.0 / (first_bytes_ + 1));
  first_byte_s_ += weight * (in_seconds(flight.first_byte_at - flight.began) - first_byte_s_);
  ++first_bytes_;
}

void NetworkReader::note_rate(double bytes, double time) {
  if (bytes <= 0) return;
  const double weight = std::max(0.1, 1.0 / (rates_ + 1));
  rate_ += weight * (bytes / std::max(time, 1e-4) - rate_);
  ++rates_;
}

// What a request brings per second while its body comes: over all that are in that state. One alone
// says nothing of what is usual: it may be the one that is slow.
void NetworkReader::measure_rates() {
  double bytes = 0;
  double time = 0;
  std::uint32_t measured = 0;
  for (const auto& flight : flights_) {
    if (flight->first_byte_at == SteadyTime{}) continue;
    ++measured;
    bytes += static_cast<double>(flight->received() - flight->marked_bytes);
    time += in_seconds(loop_->now() - flight->marked_at);
    flight->marked_bytes = flight->received();
    flight->marked_at = loop_->now();
  }
  if (measured > 2) note_rate(bytes, time);
}

void NetworkReader::watch() {
  const SteadyTime now = loop_->now();
  next_watch_ = now + kWatchEvery;
  count_time();
  const std::uint64_t bytes = counters_.bytes_network.load(std::memory_order_relaxed);
  const bool is_busy = in_flight() >= share_.connections(network_number_);
  share_.observe(now, bytes - std::exchange(bytes_observed_, bytes),
                 std::chrono::nanoseconds(static_cast<std::int64_t>(first_byte_s_ * 1e9)), is_busy);
  for (auto at = flights_.begin(); at != flights_.end();) {
    Flight& flight = **at++;
    if (!is_too_slow(flight)) continue;
    Stretch& stretch = *flight.stretch;
    break_off(flight, false);
    stretch.not_before = now;
    stretch.wants_fresh_connection = true;
    add(counters_.retries, 1);
    end_flight(flight);
    flights_.erase(std::prev(at));
  }
  measure_rates();
  if (settings_.hedges && std::min(first_bytes_, rates_) >= kMeasuredBeforeHedges) {
    for (const auto& stretch : stretches_)
      hedge_if_slow(*stretch);
  }
  if (now - last_progress_ > settings_.progress_timeout && !is_shut_out_) {
    core_.fail(Error(ErrorKind::timed_out,
                     fmt::format("no byte came for {} s over any connection; check the network, or "
                                 "raise progress_timeout_ms",
                                 in_seconds(settings_.progress_timeout))));
  }
}

// By the least rate that was set, over as long as a stall may last.
bool NetworkReader::is_too_slow(const Flight& flight) const {
  if (settings_.least_connection_rate == 0 || flight.stretch == nullptr) return false;
  const double lasted = in_seconds(loop_->now() - flight.began);
  const double window = in_seconds(flight.transfer->options().stall_timeout);
  return lasted > window && static_cast<double>(flight.received()) <
                                lasted * static_cast<double>(settings_.least_connection_rate);
}

// A second request pays if it would most likely end well before the first one.
void NetworkReader::hedge_if_slow(Stretch& stretch) {
  if (stretch.flights != 1 || stretch.was_hedged || stretch.is_whole()) return;
  const auto at = std::find_if(flights_.begin(), flights_.end(),
                               [&](const auto& one) { return one->stretch == &stretch; });
  if (at == flights_.end()) return;
  const Flight& flight = **at;
  const double age = in_seconds(loop_->now() - flight.began);
  const auto left = static_cast<double>(stretch.end - stretch.confirmed);
  // A new connection: some round trips to make it, and one to be answered.
  const double anew = 3 * first_byte_s_ + left / rate_;
  const double usual = first_byte_s_ + static_cast<double>(flight.wanted().size) / rate_;
  if (age < kLeastHedgeAge_s || age < 1.5 * usual) {
    // Young, but already far behind what it would have to be?
    if (age < kLeastHedgeAge_s || age < 4 * first_byte_s_) return;
  }
  const double own_rate = static_cast<double>(flight.received()) / age;
  const double own = own_rate > 0 ? left / own_rate : 1e9;
  if (own < 3 * anew + 0.1) return;
  const auto wanted_bytes = static_cast<double>(core_.plan.wanted_bytes());
  const bool has_budget = static_cast<double>(hedged_bytes_) + left <
                          kHedgeShare * wanted_bytes + static_cast<double>(kHedgeAllowanceBytes);
  if (!has_budget || hedges_in_flight_ >= std::max(2U, in_flight() / 8)) return;
  hedged_bytes_ += static_cast<std::uint64_t>(left);
  stretch.was_hedged = true;
  add(counters_.hedges, 1);
  fly(stretch, true);
}

void NetworkReader::count_time() {
  counters_.reader_cpu_ns.store(thread_cpu_ns(), std::memory_order_relaxed);
  counters_.wall_ns.store(static_cast<std::uint64_t>(steady_now_ns() - started_ns_),
                          std::memory_order_relaxed);
}

}  // namespace streamer::core
