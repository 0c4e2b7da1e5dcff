// SPDX-License-Identifier: Apache-2.0
#pragma once
// A thread of the library: named, with every signal blocked, joined by its owner; and what a thread
// has cost.

#include <pthread.h>

#include <cstdint>
#include <ctime>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "base/result.hpp"

namespace streamer::core::inline base {

// The CPU time of the calling thread.
[[nodiscard]] inline std::uint64_t thread_cpu_ns() noexcept {
  timespec used{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return static_cast<std::uint64_t>(used.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(used.tv_nsec);
}

class Thread {
 public:
  // name is what top and gdb show; the kernel keeps 15 bytes. body must not throw.
  static Result<Thread> start(std::string name, std::function<void()> body);

  Thread() = default;
  Thread(Thread&& other) noexcept : id_(std::exchange(other.id_, std::nullopt)) {}
  Thread& operator=(Thread&& other) noexcept {
    std::swap(id_, other.id_);
    return *this;
  }
  ~Thread() { join(); }

  void join() {
    if (id_) pthread_join(*id_, nullptr);
    id_.reset();
  }
  // Detaches it: it must own everything it uses.
  void detach() {
    if (id_) pthread_detach(*std::exchange(id_, std::nullopt));
  }
  // In the child after fork() the thread does not exist: forgets it.
  void abandon() noexcept { id_.reset(); }

 private:
  std::optional<pthread_t> id_;
};

}  // namespace streamer::core::inline base
