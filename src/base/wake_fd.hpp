// SPDX-License-Identifier: Apache-2.0
#pragma once
// Wakes a thread that sleeps in epoll. Like EventCount: the side that wakes pays one locked
// addition while nobody sleeps.
//
//   sleeper:  wake.arm();                              waker:  make the condition true
//             if (!condition()) epoll_wait(...);               wake.notify();
//             wake.disarm();
//
// No wake-up is lost, for the reason that event_count.hpp gives: arm() and notify() both change
// armed_ by a read-modify-write, so one comes first. If arm() does, notify() sees it and writes to
// the descriptor, which epoll_wait() finds readable whenever it begins. If notify() does, its
// release is read by arm()'s acquire, and the look at the condition sees the change.

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace streamer::core::inline base {

class WakeFd {
 public:
  Result<void> open() {
    fd_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!fd_) return os_failure("create an eventfd", errno);
    return {};
  }

  // To be watched for reading.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

  // The one sleeper.
  void arm() noexcept { armed_.fetch_add(1, std::memory_order_acq_rel); }
  void disarm() noexcept { armed_.fetch_sub(1, std::memory_order_relaxed); }
  void drain() const noexcept {
    std::uint64_t times = 0;
    static_cast<void>(!::read(fd_.get(), &times, sizeof times));
  }

  // Any thread, after the change. Never blocks.
  void notify() noexcept {
    if (armed_.fetch_add(0, std::memory_order_release) == 0) return;
    const std::uint64_t once = 1;
    static_cast<void>(!::write(fd_.get(), &once, sizeof once));
  }

 private:
  UniqueFd fd_;
  alignas(64) std::atomic<std::uint32_t> armed_{0};
};

}  // namespace streamer::core::inline base
