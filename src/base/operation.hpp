// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether what a thread does is still wanted. A caller may cancel an operation and bound it in
// time; whatever blocks for it asks here, and wakes as soon as it is over.
//
// An operation is the current one of the threads that work for it (WorkScope), so that it needs no
// parameter on the way down to the call that blocks. Threads without one are never interrupted.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/futex.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace streamer::core {

// How far it is. Written by the threads that work for it, read by any. relaxed: counters publish
// nothing.
struct Progress {
  std::atomic<std::uint64_t> bytes_total{0};
  std::atomic<std::uint64_t> bytes_done{0};
  std::atomic<std::uint64_t> bytes_skipped{0};  // of bytes_done: were there already
  std::atomic<std::uint64_t> files_total{0};
  std::atomic<std::uint64_t> files_done{0};
  std::atomic<std::uint64_t> files_skipped{0};  // of files_done
};

// Thread-safe once it is open.
class Operation {
 public:
  Operation();

  // Once, before it is used: makes what cancel() wakes by.
  Result<void> open(std::optional<std::chrono::milliseconds> timeout = std::nullopt);

  // Any thread, any time, signal handlers included. Whoever blocks for it wakes now.
  void cancel() noexcept;
  [[nodiscard]] bool is_cancelled() const noexcept {
    // relaxed: the flag is all that passes.
    return is_cancelled_.load(std::memory_order_relaxed);
  }

  // Readable from cancel() on, for good; -1 if it was never opened.
  [[nodiscard]] int fd() const noexcept { return wake_.get(); }
  [[nodiscard]] std::optional<SteadyTime> deadline() const noexcept { return deadline_; }
  [[nodiscard]] std::chrono::milliseconds timeout() const noexcept { return timeout_; }
  [[nodiscard]] Progress& progress() noexcept { return progress_; }

 private:
  const std::uint32_t generation_;
  std::atomic<bool> is_cancelled_{false};
  UniqueFd wake_;  // an eventfd that is written once and read never
  std::optional<SteadyTime> deadline_;
  std::chrono::milliseconds timeout_{0};  // that the deadline came from
  Progress progress_;
};

// One call that works for an operation, or that has a deadline without one. Outlives its scopes.
class Work {
 public:
  // name: "opening the checkpoint". operation may be nullptr. The earlier of both deadlines counts;
  // limit_name is the setting that `limit` came from.
  Work(std::string_view name, Operation* operation,
       std::optional<std::chrono::milliseconds> limit = std::nullopt,
       std::string_view limit_name = "");

  [[nodiscard]] Operation* operation() const noexcept { return operation_; }
  [[nodiscard]] std::optional<SteadyTime> deadline() const noexcept { return deadline_; }
  [[nodiscard]] bool is_over() const noexcept;
  // cancelled or timed_out: says of what, after how long, and what was being done ("waiting for ..
  // to answer") since when.
  [[nodiscard]] Error over(std::string_view doing, SteadyTime since) const;

 private:
  const std::string name_;
  Operation* const operation_;
  const SteadyTime began_ = std::chrono::steady_clock::now();
  std::optional<SteadyTime> deadline_;
  std::chrono::milliseconds limit_{0};
  std::string limit_name_;
};

// Makes work the current one of this thread.
class WorkScope {
 public:
  // nullptr: none.
  explicit WorkScope(const Work* work) noexcept;
  WorkScope(const WorkScope&) = delete;
  WorkScope& operator=(const WorkScope&) = delete;
  ~WorkScope();

 private:
  const Work* const before_;
};

// ---- What blocking points ask; all of this thread's current work ----

// nullptr if there is none.
[[nodiscard]] const Work* current_work() noexcept;
[[nodiscard]] bool is_work_over() noexcept;
// Wakes when the work was cancelled; -1 if it cannot be.
[[nodiscard]] int work_fd() noexcept;
// SteadyTime::max() if there is none.
[[nodiscard]] SteadyTime work_deadline() noexcept;

// The error once the work is over.
Result<void> still_wanted(std::string_view doing);
Result<void> still_wanted(std::string_view doing, SteadyTime since);
// Waits that long; the error as soon as the work is over.
Result<void> pause_for(std::chrono::nanoseconds time, std::string_view doing);
// Until fd is readable (true) or the time comes (false).
Result<bool> wait_readable(int fd, SteadyTime until, std::string_view doing);
// Locks, which may take as long as another thread holds it.
Result<std::unique_lock<std::mutex>> lock_while_wanted(std::mutex& mutex, std::string_view doing);

}  // namespace streamer::core
