// SPDX-License-Identifier: Apache-2.0
#pragma once
// Lets a thread sleep until a lock-free condition may have become true. The side that changes the
// condition pays one load when nobody sleeps.
//
//   sleeper:  const auto ticket = event.prepare();      changer:  make the condition true (any
//   order)
//             if (condition()) event.retract();                   event.notify();
//             else event.wait(ticket, deadline);
//
// Why no wake-up is lost: prepare() and notify() both change sleepers_ by a read-modify-write, so
// one comes first. If prepare() does, notify() reads the sleeper, bumps the epoch and wakes it. If
// notify() does, its release is read by prepare()'s acquire, so the sleeper's look at the condition
// sees the change. The epoch makes a bump that falls between prepare() and the kernel's own check
// end the wait at once.

#include <cstdint>

#include "base/futex.hpp"

namespace streamer::core::inline base {

template <template <typename> class Atomic = std::atomic>
class BasicEventCount {
 public:
  // Any thread. Announces a sleeper; exactly one of retract() and wait() must follow.
  std::uint32_t prepare() noexcept {
    // The ticket must be older than the announcement; otherwise a notify() between the two would
    // have moved the epoch past the value that wait() compares with.
    const std::uint32_t ticket = epoch_.load(std::memory_order_relaxed);
    // acquire: pairs with the release in advance(). release: keeps the load above where it stands.
    sleepers_.fetch_add(1, std::memory_order_acq_rel);
    return ticket;
  }

  void retract() noexcept { sleepers_.fetch_sub(1, std::memory_order_relaxed); }

  // Returns after a notify() that came after prepare(), at the deadline, or for no reason.
  void wait(std::uint32_t ticket, std::optional<SteadyTime> deadline) noexcept {
    futex_wait(epoch_, ticket, deadline);
    retract();
  }

  // Any thread, after the change. Never blocks.
  void notify() noexcept {
    if (advance()) futex_wake_all(epoch_);
  }

  // notify() without the system call, for tests that step through every order. True if there is a
  // sleeper to wake.
  bool advance() noexcept {
    // release: publishes the change to a prepare() that comes later. Adding zero, not loading: only
    // a read-modify-write has a place in sleepers_'s order.
    if (sleepers_.fetch_add(0, std::memory_order_release) == 0) return false;
    epoch_.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  // For the same tests: a sleeper whose ticket is no longer the epoch does not sleep.
  [[nodiscard]] std::uint32_t epoch() const noexcept {
    return epoch_.load(std::memory_order_relaxed);
  }

 private:
  Atomic<std::uint32_t> sleepers_{0};
  Atomic<std::uint32_t> epoch_{0};
};

using EventCount = BasicEventCount<>;

}  // namespace streamer::core::inline base
