// SPDX-License-Identifier: Apache-2.0
#include "engine/process_share.hpp"

#include <algorithm>
#include <utility>

namespace streamer::core::inline engine {

LoadShare::LoadShare(ProcessShare& process, std::function<void()> on_room)
    : process_(process), on_room_(std::move(on_room)) {
  process_.state_.with([&](auto& state) { state.loads.push_back(this); });
}

LoadShare::~LoadShare() {
  if (!is_counted()) return;
  process_.state_.with([&](auto& state) {
    std::erase(state.loads, this);
    state.held_bytes -= held_bytes_;
    if (network_readers_ != 0) --state.network_loads;
    process_.publish_connections(state);
    process_.gifts_.fetch_add(1, std::memory_order_relaxed);
    ProcessShare::tell_refused(state);
  });
}

// is_due: taken even if there is no room, as a load's first block is: otherwise two loads could
// refuse each other for ever.
bool LoadShare::take(std::uint64_t bytes, bool is_due) noexcept {
  if (!is_counted()) return true;
  return process_.state_.with([&](auto& state) {
    const std::uint64_t limit = ProcessShare::memory_limit(state);
    const bool has_room = limit == 0 || state.held_bytes + bytes <= limit;
    is_refused_.store(!has_room && !is_due, std::memory_order_relaxed);
    if (!has_room && !is_due) return false;
    state.held_bytes += bytes;
    held_bytes_ += bytes;
    return true;
  });
}

void LoadShare::give(std::uint64_t bytes) noexcept {
  if (!is_counted()) return;
  process_.state_.with([&](auto& state) {
    state.held_bytes -= bytes;
    held_bytes_ -= bytes;
    process_.gifts_.fetch_add(1, std::memory_order_relaxed);
    ProcessShare::tell_refused(state);
  });
}

void LoadShare::joins_network(std::uint32_t most_connections) noexcept {
  process_.state_.with([&](auto& state) {
    if (network_readers_++ == 0) ++state.network_loads;
    state.automatic_connections = most_connections;
    process_.publish_connections(state);
  });
}

void LoadShare::leaves_network() noexcept {
  process_.state_.with([&](auto& state) {
    if (--network_readers_ == 0) --state.network_loads;
    process_.publish_connections(state);
  });
}

ProcessShare& ProcessShare::mine() {
  // A child's is made anew: its parent's loads are not its own, and the parent's lock may have been
  // held during fork(). Never destroyed: threads may use it until the process ends.
  struct Made {
    std::uint32_t generation;
    ProcessShare* share;
    Made* of_parent;
  };
  static std::atomic<Made*> made{nullptr};
  const std::uint32_t generation = fork_generation();
  // acquire: pairs with the release below.
  Made* known = made.load(std::memory_order_acquire);
  if (known != nullptr && known->generation == generation) return *known->share;
  auto* const fresh = new Made{generation, new ProcessShare, known};
  // release: pairs with the acquires, here and above. A thread that finds it finds it complete.
  if (made.compare_exchange_strong(known, fresh, std::memory_order_acq_rel,
                                   std::memory_order_acquire))
    return *fresh->share;
  delete fresh->share;
  delete fresh;
  return *known->share;
}

void ProcessShare::set_limits(const ProcessLimits& limits) noexcept {
  state_.with([&](State& state) { take_limits(state, limits); });
}

void ProcessShare::set_first_limits(const ProcessLimits& limits) noexcept {
  state_.with([&](State& state) {
    if (!state.has_limits) take_limits(state, limits);
  });
}

bool ProcessShare::has_limits() const noexcept {
  return state_.with([](const State& state) { return state.has_limits; });
}

void ProcessShare::take_limits(State& state, const ProcessLimits& limits) noexcept {
  state.limits = limits;
  state.has_limits = true;
  throttle_.set(limits.bandwidth_bytes_per_s);
  publish_connections(state);
  tell_refused(state);
}

ProcessLimits ProcessShare::limits() const noexcept {
  return state_.with([](const State& state) { return state.limits; });
}

ProcessUse ProcessShare::use() const noexcept {
  return state_.with([](const State& state) {
    return ProcessUse{.loads = static_cast<std::uint32_t>(state.loads.size()),
                      .network_loads = state.network_loads,
                      .memory_bytes = state.held_bytes,
                      .memory_limit_bytes = memory_limit(state)};
  });
}

void ProcessShare::set_automatic_memory(std::uint64_t bytes) noexcept {
  state_.with([&](State& state) {
    state.automatic_bytes = bytes;
    tell_refused(state);
  });
}

std::uint64_t ProcessShare::memory_limit(const State& state) noexcept {
  return state.limits.memory_bytes != 0 ? state.limits.memory_bytes : state.automatic_bytes;
}

// Equal parts, at least one each. Under the state's lock; the readers' look takes none.
void ProcessShare::publish_connections(const State& state) noexcept {
  const std::uint32_t all =
      state.limits.connections != 0 ? state.limits.connections : state.automatic_connections;
  connections_each_.store(std::max(1U, all / std::max(1U, state.network_loads)),
                          std::memory_order_relaxed);
}

// Room was made: each load that was refused looks again. They may be more than there is room for;
// those that find none are refused again.
void ProcessShare::tell_refused(State& state) noexcept {
  for (LoadShare* const load : state.loads) {
    if (!load->is_refused_.load(std::memory_order_relaxed)) continue;
    load->on_room_();
    // Last. release: pairs with is_refused(); a thread that finds no refusal finds the load told.
    load->is_refused_.store(false, std::memory_order_release);
  }
}

}  // namespace streamer::core::inline engine
