// SPDX-License-Identifier: Apache-2.0
#include "scale/simulation.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <vector>

#include "checkpoint/ranges.hpp"
#include "engine/request_size.hpp"
#include "engine/tuner.hpp"
#include "http/retry.hpp"
#include "storage/remote_store.hpp"

namespace streamer::test {

using namespace streamer::core;

namespace {

constexpr double kTick_s = 0.01;
constexpr double kDay_s = 86'400;
constexpr double kChunkBytes = 8 * kMiB;
// As long as a load measures before it judges its connections (network_watch.cpp).
constexpr double kWatchEvery_s = 0.05;
constexpr double kHeaderBytes = 256 * kKiB;

SteadyTime at(double seconds) {
  // Not at the epoch, which stands for "never" in a tuner.
  return SteadyTime(std::chrono::hours(1)) + std::chrono::duration_cast<std::chrono::nanoseconds>(
                                                 std::chrono::duration<double>(seconds));
}

// Refuses what exceeds its rate; what was not used adds up for a second.
class Admission {
 public:
  explicit Admission(const SimulatedStore& store)
      : rate_(store.requests_per_s), tokens_(store.prefixes, store.requests_per_s) {}

  void tick() {
    for (double& tokens : tokens_)
      tokens = std::min(tokens + rate_ * kTick_s, rate_);
  }
  bool takes(std::uint32_t prefix) {
    if (rate_ == 0) return true;
    if (tokens_[prefix] < 1) return false;
    tokens_[prefix] -= 1;
    return true;
  }

 private:
  const double rate_;
  std::vector<double> tokens_;
};

struct Request {
  enum class State : std::uint8_t { waits, asked, receives };

  Request(double bytes, std::uint32_t of_prefix, bool for_header)
      : left(bytes), prefix(of_prefix), is_header(for_header) {}

  State state = State::waits;
  double left;
  double whole = left;
  double due_s = 0;    // waits: for its next attempt
  double began_s = 0;  // asked, receives
  bool is_refused = false;
  std::uint32_t prefix;
  bool is_header;
  Attempts attempts{RetryPolicy{}};
};

class Replica {
 public:
  Replica(const SimulatedStore& store, const SimulatedLoads& loads, double start_s)
      : store_(store),
        loads_(loads),
        start_s_(start_s),
        unopened_(loads.shards),
        unclaimed_(loads.model_bytes) {}

  double done_s = -1;
  bool has_failed = false;
  std::uint64_t requests = 0;
  std::uint64_t refused = 0;
  std::uint32_t most_connections = 0;

  bool is_over() const { return done_s >= 0 || has_failed; }
  std::uint32_t receiving() const { return receiving_; }

  void turn(double now, Admission& admission, double connection_rate) {
    if (is_over() || now < start_s_) return;
    const double rate =
        receiving_ == 0 ? 0 : std::min(connection_rate, loads_.link_bytes_per_s / receiving_);
    receive(now, rate);
    start(now, admission);
    observe(now);
    if (!has_failed && unopened_ == 0 && unclaimed_ <= 0 && in_flight_.empty()) done_s = now;
  }

 private:
  std::uint32_t limit() const {
    return unopened_ > 0 || headers_ > 0 ? std::uint32_t{kOpeningThreads} : tuner_.target();
  }

  // What is on its way arrives.
  void receive(double now, double rate) {
    receiving_ = 0;
    for (auto& one : in_flight_) {
      if (one->state == Request::State::asked && now >= one->began_s + store_.first_byte_s) {
        if (one->is_refused) {
          refuse(*one, now);
          continue;
        }
        one->state = Request::State::receives;
      }
      if (one->state != Request::State::receives) continue;
      const double bytes = std::min(one->left, rate * kTick_s);
      one->left -= bytes;
      bytes_ += bytes;
      if (one->left > 0) {
        ++receiving_;
        continue;
      }
      budget_.succeeded();
      rate_ = one->whole / std::max(now - one->began_s - store_.first_byte_s, kTick_s);
      if (one->is_header) --headers_;
      one.reset();
    }
    std::erase(in_flight_, nullptr);
  }

  // A 503, as the network reader takes it.
  void refuse(Request& request, double now) {
    ++refused;
    request.state = Request::State::waits;
    if (loads_.naive_retry_s > 0) {
      request.due_s = now + loads_.naive_retry_s;
      return;
    }
    tuner_.throttled(at(now));
    const Verdict verdict{.again = Again::throttled,
                          .error = Error(ErrorKind::io, "SlowDown: reduce your request rate")};
    const auto delay = request.attempts.next(verdict, false);
    if (!delay || !budget_.take(verdict.again)) {
      has_failed = true;
      return;
    }
    request.due_s = now + std::chrono::duration<double>(*delay).count();
  }

  std::uint32_t asked() const {
    return static_cast<std::uint32_t>(
        std::count_if(in_flight_.begin(), in_flight_.end(),
                      [](const auto& one) { return one->state != Request::State::waits; }));
  }

  void start(double now, Admission& admission) {
    std::uint32_t active = asked();
    for (auto& one : in_flight_) {
      if (active >= limit()) break;
      if (one->state != Request::State::waits || one->due_s > now) continue;
      ask(*one, now, admission);
      ++active;
    }
    // Requests that wait for their next attempt leave connections to others, up to twice as many.
    while (active < limit() && in_flight_.size() < 2 * std::size_t{limit()} && claim()) {
      ask(*in_flight_.back(), now, admission);
      ++active;
    }
    most_connections = std::max(most_connections, active);
  }

  bool claim() {
    const auto next_prefix = [&] { return next_shard_++ % loads_.shards % store_.prefixes; };
    if (unopened_ > 0) {
      --unopened_;
      ++headers_;
      in_flight_.push_back(std::make_unique<Request>(kHeaderBytes, next_prefix(), true));
      return true;
    }
    // The plan is made of all headers.
    if (headers_ > 0 || unclaimed_ <= 0) return false;
    RequestNeed need{.unclaimed_bytes = unclaimed_,
                     .asked_bytes = loads_.model_bytes - unclaimed_,
                     .connections = tuner_.target(),
                     .own_connections = tuner_.target(),
                     .first_byte_s = store_.first_byte_s,
                     .bytes_per_s = rate_};
    for (const auto& one : in_flight_)
      need.claimed_bytes += one->left;
    const double chunks = std::max(1.0, std::ceil(request_bytes(need) / kChunkBytes));
    const double bytes = std::min(chunks * kChunkBytes, unclaimed_);
    unclaimed_ -= bytes;
    in_flight_.push_back(std::make_unique<Request>(bytes, next_prefix(), false));
    return true;
  }

  void ask(Request& request, double now, Admission& admission) {
    ++requests;
    request.state = Request::State::asked;
    request.began_s = now;
    request.is_refused = !admission.takes(request.prefix);
  }

  void observe(double now) {
    if (now < next_watch_s_ || unopened_ > 0 || headers_ > 0) return;
    next_watch_s_ = now + kWatchEvery_s;
    tuner_.observe(at(now), static_cast<std::uint64_t>(bytes_),
                   std::chrono::nanoseconds(static_cast<std::int64_t>(store_.first_byte_s * 1e9)),
                   asked() >= tuner_.target());
  }

  const SimulatedStore& store_;
  const SimulatedLoads& loads_;
  const double start_s_;
  Tuner tuner_{Tuner::Limits{}};
  RetryBudget budget_{Tuner::Limits{}.most};
  std::vector<std::unique_ptr<Request>> in_flight_;  // and those that wait for their next attempt
  std::uint32_t unopened_;
  std::uint32_t headers_ = 0;  // claimed, and not there
  std::uint32_t next_shard_ = 0;
  std::uint32_t receiving_ = 0;
  double unclaimed_;
  double bytes_ = 0;
  double rate_ = 0;
  double next_watch_s_ = 0;
};

double ideal_time(const SimulatedStore& store, const SimulatedLoads& loads) {
  const double all = loads.replicas * loads.model_bytes;
  const double least_requests =
      std::ceil(loads.model_bytes / static_cast<double>(kLargestRequestBytes)) + loads.shards;
  double ideal = loads.model_bytes / std::min(loads.link_bytes_per_s,
                                              store.connection_bytes_per_s * Tuner::Limits{}.most);
  ideal += loads.spread_s * (loads.replicas - 1) / loads.replicas;
  if (store.bytes_per_s > 0) ideal = std::max(ideal, all / store.bytes_per_s);
  if (store.requests_per_s > 0)
    ideal =
        std::max(ideal, loads.replicas * least_requests / store.requests_per_s / store.prefixes);
  return ideal;
}

}  // namespace

SimulatedOutcome simulate(const SimulatedStore& store, const SimulatedLoads& loads) {
  Admission admission(store);
  std::vector<std::unique_ptr<Replica>> replicas;
  for (std::uint32_t i = 0; i < loads.replicas; ++i)
    replicas.push_back(
        std::make_unique<Replica>(store, loads, loads.spread_s * i / loads.replicas));
  std::size_t over = 0;
  std::size_t first = 0;
  for (double now = 0; over < replicas.size() && now < kDay_s; now += kTick_s) {
    admission.tick();
    std::uint64_t receiving = 0;
    for (const auto& one : replicas)
      receiving += one->receiving();
    double rate = store.connection_bytes_per_s;
    if (store.bytes_per_s > 0 && receiving > 0)
      rate = std::min(rate, store.bytes_per_s / static_cast<double>(receiving));
    // Each tick begins with another one: a store prefers nobody.
    first = (first + 7919) % replicas.size();
    over = 0;
    for (std::size_t i = 0; i < replicas.size(); ++i) {
      Replica& one = *replicas[(first + i) % replicas.size()];
      one.turn(now, admission, rate);
      over += one.is_over() ? 1 : 0;
    }
  }
  SimulatedOutcome outcome{.ideal_s = ideal_time(store, loads)};
  std::vector<double> times;
  for (const auto& one : replicas) {
    outcome.requests += one->requests;
    outcome.refused += one->refused;
    outcome.most_connections = std::max(outcome.most_connections, one->most_connections);
    if (one->done_s >= 0) {
      times.push_back(one->done_s);
    } else {
      ++outcome.failed;
    }
  }
  std::sort(times.begin(), times.end());
  if (!times.empty()) {
    outcome.first_s = times.front();
    outcome.median_s = times[times.size() / 2];
    outcome.last_s = times.back();
  }
  return outcome;
}

}  // namespace streamer::test
