// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the loads of a process share: host memory, connections, bandwidth.
//
// Memory: a load takes memory as it proceeds and gives it back. A load that is refused more waits
// until another one gives some back. Its first block is never refused, so every load makes
// progress. A load with its own limit takes what that allows, and is counted.
// Connections: every load over a network may use an equal part.
// Bandwidth: one throttle, in addition to that of each load.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

#include "base/fork.hpp"
#include "base/guarded.hpp"
#include "base/throttle.hpp"

namespace streamer::core::inline engine {

// How long a load that is refused memory waits for any other load to give some back.
inline constexpr std::chrono::seconds kPatienceWithOtherLoads{10};

struct ProcessLimits {
  std::uint64_t memory_bytes = 0;           // 0: automatic, by what the machine has free
  std::uint64_t bandwidth_bytes_per_s = 0;  // 0: no cap
  std::uint32_t connections = 0;            // 0: what one load may have
};

struct ProcessUse {
  std::uint32_t loads = 0;
  std::uint32_t network_loads = 0;
  std::uint64_t memory_bytes = 0;        // held by loads now
  std::uint64_t memory_limit_bytes = 0;  // for loads without their own limit; 0: none started yet
};

class ProcessShare;

// One load's part. Gives everything back when it is destroyed.
class LoadShare {
 public:
  // on_room: called on any thread, with the process's state locked, when there may be room again
  // for a load that was refused. It must not block nor call back.
  LoadShare(ProcessShare& process, std::function<void()> on_room);
  LoadShare(const LoadShare&) = delete;
  LoadShare& operator=(const LoadShare&) = delete;
  ~LoadShare();

  // All thread-safe.
  // is_due: the request must not be refused.
  [[nodiscard]] bool take(std::uint64_t bytes, bool is_due) noexcept;
  void give(std::uint64_t bytes) noexcept;
  // Each of its network readers, when it begins and when it ends: in between, the load counts among
  // those that share connections, of which it would use so many at most if it were alone.
  void joins_network(std::uint32_t most_connections) noexcept;
  void leaves_network() noexcept;
  // Whether its last request was refused and nothing has come back since.
  [[nodiscard]] bool is_refused() const noexcept {
    // acquire: pairs with the release in tell_refused().
    return is_refused_.load(std::memory_order_acquire);
  }
  [[nodiscard]] ProcessShare& process() const noexcept { return process_; }

 private:
  friend class ProcessShare;
  // After fork(), the child's copies of its parent's loads do not count.
  [[nodiscard]] bool is_counted() const noexcept { return fork_generation() == generation_; }

  ProcessShare& process_;
  const std::uint32_t generation_ = fork_generation();
  const std::function<void()> on_room_;
  // Under the process's lock:
  std::uint64_t held_bytes_ = 0;
  std::uint32_t network_readers_ = 0;
  std::atomic<bool> is_refused_{false};  // changed under it
};

class ProcessShare {
 public:
  // This process's, never destroyed. A child of fork() has its own, without its parent's loads.
  static ProcessShare& mine();

  // All thread-safe.
  void set_limits(const ProcessLimits& limits) noexcept;
  // The same, unless limits were set before: those of the environment.
  void set_first_limits(const ProcessLimits& limits) noexcept;
  [[nodiscard]] bool has_limits() const noexcept;
  [[nodiscard]] ProcessLimits limits() const noexcept;
  [[nodiscard]] ProcessUse use() const noexcept;
  // How much loads without their own limit may hold together, as determined by the latest of them.
  void set_automatic_memory(std::uint64_t bytes) noexcept;
  // How often any load gave memory back.
  [[nodiscard]] std::uint64_t gifts() const noexcept {
    return gifts_.load(std::memory_order_relaxed);
  }

  // How many connections one load may use now. relaxed: only the number is passed.
  [[nodiscard]] std::uint32_t connections_each() const noexcept {
    return connections_each_.load(std::memory_order_relaxed);
  }

  [[nodiscard]] bool is_capped() const noexcept { return throttle_.is_on(); }
  SteadyTime reserve(std::uint64_t bytes, SteadyTime now) noexcept {
    return throttle_.reserve(bytes, now);
  }

 private:
  friend class LoadShare;
  struct State {
    ProcessLimits limits;
    bool has_limits = false;
    std::uint64_t automatic_bytes = 0;
    std::uint64_t held_bytes = 0;
    std::uint32_t network_loads = 0;
    std::uint32_t automatic_connections = UINT32_MAX;  // of the latest load over a network
    std::vector<LoadShare*> loads;
  };
  void take_limits(State& state, const ProcessLimits& limits) noexcept;
  static std::uint64_t memory_limit(const State& state) noexcept;
  void publish_connections(const State& state) noexcept;
  static void tell_refused(State& state) noexcept;

  Guarded<State> state_;
  std::atomic<std::uint64_t> gifts_{0};
  std::atomic<std::uint32_t> connections_each_{UINT32_MAX};
  Throttle throttle_{0};
};

}  // namespace streamer::core::inline engine
