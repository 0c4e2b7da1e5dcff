// SPDX-License-Identifier: Apache-2.0
#pragma once
// Cancels calls that wait for a store, limits their time, and tells how far they have got.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>

#include "result.hpp"

namespace streamer {

using Progress = streamer_progress;

// May be passed to any number of calls, one after another or at once: they end when it is cancelled
// or its time is up. Must outlive them. Thread-safe.
class Operation {
 public:
  // timeout counts from now, for all of its calls together, which then fail with timed_out.
  static Result<Operation> make(std::optional<std::chrono::milliseconds> timeout = std::nullopt) {
    streamer_operation* made = nullptr;
    streamer_error* error = nullptr;
    const std::int64_t timeout_ms = timeout ? timeout->count() : -1;
    if (streamer_operation_new(timeout && timeout_ms < 0 ? 0 : timeout_ms, &made, &error) !=
        STREAMER_OK) {
      return Error(error);
    }
    return Operation(made);
  }

  // On any thread, or in a signal handler. Current and later calls fail with cancelled.
  void cancel() const noexcept { streamer_operation_cancel(operation_.get()); }

  // Becomes readable when the operation is cancelled, and stays so. The operation owns it: neither
  // read nor close it.
  int fd() const noexcept { return streamer_operation_fd(operation_.get()); }

  // Of pulls and snapshots. On any thread, also while they run.
  Progress progress() const noexcept {
    Progress progress = STREAMER_PROGRESS_INIT;
    streamer_operation_get_progress(operation_.get(), &progress);
    return progress;
  }

  // For streamer.h.
  streamer_operation* get() const noexcept { return operation_.get(); }

 private:
  struct Free {
    void operator()(streamer_operation* operation) const noexcept {
      streamer_operation_free(operation);
    }
  };
  explicit Operation(streamer_operation* operation) noexcept : operation_(operation) {}

  std::unique_ptr<streamer_operation, Free> operation_;
};

namespace detail {

inline streamer_operation* handle_of(const Operation* operation) noexcept {
  return operation == nullptr ? nullptr : operation->get();
}

}  // namespace detail

}  // namespace streamer
