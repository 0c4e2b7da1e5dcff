// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether a thread's work is still wanted. A caller may cancel an operation or limit its time; code
// that blocks for it checks here, and wakes as soon as it is over.
//
// An operation is the current one of the threads that work for it (WorkScope), so it need not be
// passed down to the call that blocks. Threads without one are never interrupted.

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

namespace streamer::core::inline base {

// Its progress. Written by the threads that work for it, read by any. relaxed: counters publish
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

  // Called once, before use: makes the descriptor that cancel() writes to.
  Result<void> open(std::optional<std::chrono::milliseconds> timeout = std::nullopt);

  // Any thread, any time, also in signal handlers. Threads that block for it wake now.
  void cancel() noexcept;
  [[nodiscard]] bool is_cancelled() const noexcept {
    // relaxed: only the flag itself is communicated.
    return is_cancelled_.load(std::memory_order_relaxed);
  }

  // Readable from cancel() on, permanently; -1 if it was never opened.
  [[nodiscard]] int fd() const noexcept { return wake_.get(); }
  [[nodiscard]] std::optional<SteadyTime> deadline() const noexcept { return deadline_; }
  [[nodiscard]] std::chrono::milliseconds timeout() const noexcept { return timeout_; }
  [[nodiscard]] Progress& progress() noexcept { return progress_; }

 private:
  const std::uint32_t generation_;
  std::atomic<bool> is_cancelled_{false};
  UniqueFd wake_;  // an eventfd that is written once and never read
  std::optional<SteadyTime> deadline_;
  std::chrono::milliseconds timeout_{0};  // that the deadline came from
  Progress progress_;
};

// One call that works for an operation, or has a deadline without one. Outlives its scopes.
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
  // cancelled or timed_out: says which call, after how long, and what was being done ("waiting for
  // .. to answer") since when.
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

// ---- For code that blocks; all about this thread's current work ----

// nullptr if the thread has none.
[[nodiscard]] const Work* current_work() noexcept;
[[nodiscard]] bool is_work_over() noexcept;
// A descriptor that becomes readable when the work is cancelled; -1 if it cannot be.
[[nodiscard]] int work_fd() noexcept;
// SteadyTime::max() if there is none.
[[nodiscard]] SteadyTime work_deadline() noexcept;

// The error once the work is over.
Result<void> still_wanted(std::string_view doing);
Result<void> still_wanted(std::string_view doing, SteadyTime since);
// Waits that long; fails as soon as the work is over.
Result<void> pause_for(std::chrono::nanoseconds time, std::string_view doing);
// Until fd is readable (true) or the time comes (false).
Result<bool> wait_readable(int fd, SteadyTime until, std::string_view doing);
// Locks a mutex that another thread may hold for long.
Result<std::unique_lock<std::mutex>> lock_while_wanted(std::mutex& mutex, std::string_view doing);

}  // namespace streamer::core::inline base
