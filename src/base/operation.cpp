// SPDX-License-Identifier: Apache-2.0
#include "base/operation.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>

#include "base/fork.hpp"

namespace streamer::core::inline base {

namespace {

using Milliseconds = std::chrono::milliseconds;

constinit thread_local const Work* current = nullptr;

// How often a wait checks a condition that has no descriptor.
constexpr Milliseconds kLookEvery{5};

Milliseconds in_ms(std::chrono::nanoseconds time) {
  return std::chrono::duration_cast<Milliseconds>(time);
}

}  // namespace

// ---- Operation ----

Operation::Operation() : generation_(fork_generation()) {}

Result<void> Operation::open(std::optional<Milliseconds> timeout) {
  wake_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_) return os_failure("create an eventfd", errno);
  if (timeout) {
    timeout_ = *timeout;
    deadline_ = std::chrono::steady_clock::now() + *timeout;
  }
  return {};
}

void Operation::cancel() noexcept {
  is_cancelled_.store(true, std::memory_order_relaxed);
  // After fork() the parent shares the eventfd, and its operation was not cancelled.
  if (!wake_ || generation_ != fork_generation()) return;
  const int kept = errno;  // for the code that a signal handler interrupts
  const std::uint64_t once = 1;
  static_cast<void>(!::write(wake_.get(), &once, sizeof once));
  errno = kept;
}

// ---- Work ----

Work::Work(std::string_view name, Operation* operation, std::optional<Milliseconds> limit,
           std::string_view limit_name)
    : name_(name), operation_(operation) {
  if (limit) {
    deadline_ = began_ + *limit;
    limit_ = *limit;
    limit_name_ = limit_name;
  }
  const auto own = operation == nullptr ? std::nullopt : operation->deadline();
  if (!own || (deadline_ && *deadline_ < *own)) return;
  deadline_ = own;
  limit_ = operation->timeout();
  limit_name_ = "the call's own";
}

bool Work::is_over() const noexcept {
  if (operation_ != nullptr && operation_->is_cancelled()) return true;
  return deadline_ && std::chrono::steady_clock::now() >= *deadline_;
}

Error Work::over(std::string_view doing, SteadyTime since) const {
  const SteadyTime now = std::chrono::steady_clock::now();
  const bool is_cancelled = operation_ != nullptr && operation_->is_cancelled();
  ErrorFields fields;
  fields.kind = is_cancelled ? ErrorKind::cancelled : ErrorKind::timed_out;
  fields.elapsed_ms = static_cast<std::uint64_t>(in_ms(now - began_).count());
  const std::int64_t lasted_ms = in_ms(now - since).count();
  const std::string lately = lasted_ms > 0 ? fmt::format(", for {} ms so far", lasted_ms) : "";
  fields.message = is_cancelled
                       ? fmt::format("{} was cancelled after {} ms, while {}{}", name_,
                                     fields.elapsed_ms, doing, lately)
                       : fmt::format(
                             "{} did not end within its deadline of {} ms ({}): it was {}{}; allow "
                             "more time, or run \"streamer doctor\" to see what takes so long",
                             name_, limit_.count(), limit_name_, doing, lately);
  return Error(std::move(fields));
}

WorkScope::WorkScope(const Work* work) noexcept : before_(std::exchange(current, work)) {}

WorkScope::~WorkScope() {
  current = before_;
}

// ---- Blocking points ----

const Work* current_work() noexcept {
  return current;
}

bool is_work_over() noexcept {
  return current != nullptr && current->is_over();
}

int work_fd() noexcept {
  if (current == nullptr || current->operation() == nullptr) return -1;
  return current->operation()->fd();
}

SteadyTime work_deadline() noexcept {
  return current == nullptr ? SteadyTime::max() : current->deadline().value_or(SteadyTime::max());
}

Result<void> still_wanted(std::string_view doing, SteadyTime since) {
  if (is_work_over()) return current->over(doing, since);
  return {};
}

Result<void> still_wanted(std::string_view doing) {
  return still_wanted(doing, std::chrono::steady_clock::now());
}

Result<bool> wait_readable(int fd, SteadyTime until, std::string_view doing) {
  const SteadyTime began = std::chrono::steady_clock::now();
  for (;;) {
    TRY(still_wanted(doing, began));
    const SteadyTime now = std::chrono::steady_clock::now();
    if (now >= until) return false;
    const std::chrono::nanoseconds left = std::min<std::chrono::nanoseconds>(
        std::min(until, work_deadline()) - now, std::chrono::hours(1));
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
    const timespec wait{.tv_sec = static_cast<time_t>(seconds.count()),
                        .tv_nsec = static_cast<long>((left - seconds).count())};
    // A negative descriptor is left out.
    std::array<pollfd, 2> entries{{{fd, POLLIN, 0}, {work_fd(), POLLIN, 0}}};
    const int ready = ::ppoll(entries.data(), entries.size(), &wait, nullptr);
    if (ready < 0 && errno != EINTR) return os_failure("poll", errno);
    if (ready > 0 && entries[0].revents != 0) return true;
  }
}

Result<void> pause_for(std::chrono::nanoseconds time, std::string_view doing) {
  const SteadyTime until = std::chrono::steady_clock::now() + time;
  TRY(wait_readable(-1, until, doing));
  return {};
}

Result<std::unique_lock<std::mutex>> lock_while_wanted(std::mutex& mutex, std::string_view doing) {
  if (current == nullptr) return std::unique_lock(mutex);
  const SteadyTime began = std::chrono::steady_clock::now();
  for (;;) {
    std::unique_lock lock(mutex, std::try_to_lock);
    if (lock.owns_lock()) return lock;
    TRY(still_wanted(doing, began));
    TRY(pause_for(kLookEvery, doing));
  }
}

}  // namespace streamer::core::inline base
