// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the consumer of a load waits on: in the library, as on an EventCount, or in its own event
// loop, on a descriptor that becomes readable.
//
// The descriptor follows the consumer's last look. One that found nothing calls expect(), looks
// again, and goes back to its loop if there still is nothing; the first notify() after that writes
// to the descriptor. No wake-up is lost, for the reason that event_count.hpp gives: both change
// expected_ by a read-modify-write, so one comes first. If expect() does, notify() sees it and
// writes. If notify() does, its release is read by expect()'s acquire, and the second look sees
// what changed.

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

#include "base/event_count.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace streamer::core::inline engine {

// Its decision logic, separate for tests that step through every order.
template <template <typename> class Atomic = std::atomic>
class BasicExpectation {
 public:
  // The consumer. acquire: pairs with the release in meet(). release: publishes the descriptor to
  // the meet() that finds it expected.
  void expect() noexcept { expected_.fetch_add(1, std::memory_order_acq_rel); }
  // The consumer, which goes on looking.
  void forget() noexcept { expected_.store(0, std::memory_order_relaxed); }
  // Any thread, after the change: whether the consumer is to be told. release: publishes the change
  // to an expect() that comes later. acquire: pairs with the release in one that came before.
  // Adding zero first, not exchanging: most of the time nobody expects anything.
  bool meet() noexcept {
    if (expected_.fetch_add(0, std::memory_order_acq_rel) == 0) return false;
    expected_.store(0, std::memory_order_relaxed);
    return true;
  }

 private:
  Atomic<std::uint32_t> expected_{0};
};

class ReadySignal {
 public:
  // As EventCount's.
  std::uint32_t prepare() noexcept { return count_.prepare(); }
  void retract() noexcept { count_.retract(); }
  void wait(std::uint32_t ticket, std::optional<SteadyTime> deadline) noexcept {
    count_.wait(ticket, deadline);
  }

  // Any thread, after the change. Never blocks.
  void notify() noexcept {
    count_.notify();
    if (expectation_.meet()) make_readable();
  }

  // The consumer. The descriptor, made on the first call, and readable at first, because the caller
  // has not looked yet. Errors: of the system.
  Result<int> fd() {
    if (!fd_) {
      UniqueFd made(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
      if (!made) return os_failure("create an eventfd", errno);
      fd_ = std::move(made);
      make_readable();
    }
    return fd_.get();
  }

  // The consumer, before its second look; nothing without a descriptor.
  void expect() noexcept {
    if (!fd_) return;
    std::uint64_t times = 0;
    static_cast<void>(!::read(fd_.get(), &times, sizeof times));
    expectation_.expect();
  }
  // The consumer, whose second look found something: it has not gone back to its loop.
  void unexpect() noexcept {
    if (!fd_) return;
    expectation_.forget();
    // A look that finds something may not be the last one.
    make_readable();
  }

 private:
  void make_readable() noexcept {
    const std::uint64_t once = 1;
    static_cast<void>(!::write(fd_.get(), &once, sizeof once));
  }

  EventCount count_;
  UniqueFd fd_;  // made before anything is expected, so that notify() may use it
  BasicExpectation<> expectation_;
};

}  // namespace streamer::core::inline engine
