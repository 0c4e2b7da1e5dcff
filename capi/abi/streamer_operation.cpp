// SPDX-License-Identifier: Apache-2.0
#include "operation.hpp"

using namespace streamer::capi;
namespace core = streamer::core;

namespace streamer::capi {

Error error_of(const core::Work& work, Error error) {
  const bool is_of_work =
      error.kind() == ErrorKind::cancelled || error.kind() == ErrorKind::timed_out;
  if (is_of_work || !work.is_over()) return error;
  return work.over("about to fail: " + error.line(), std::chrono::steady_clock::now());
}

}  // namespace streamer::capi

extern "C" {

streamer_status streamer_operation_new(int64_t timeout_ms, streamer_operation** operation_out,
                                       streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(operation_out);
    std::optional<std::chrono::milliseconds> timeout;
    // Beyond a hundred years the clock's own range would end.
    constexpr int64_t kLongestMs = int64_t{100} * 365 * 86'400'000;
    if (timeout_ms >= 0 && timeout_ms < kLongestMs) timeout = std::chrono::milliseconds(timeout_ms);
    auto made = std::make_unique<streamer_operation>();
    TRY(made->operation.open(timeout));
    *operation_out = made.release();
    return STREAMER_OK;
  });
}

void streamer_operation_cancel(streamer_operation* operation) {
  if (operation != nullptr) operation->operation.cancel();
}

int streamer_operation_fd(const streamer_operation* operation) {
  return operation == nullptr ? -1 : operation->operation.fd();
}

void streamer_operation_get_progress(const streamer_operation* operation,
                                     streamer_progress* progress_out) {
  if (operation == nullptr || progress_out == nullptr) return;
  const core::Progress& progress = operation->operation.progress();
  const auto read = [](const auto& counter) { return counter.load(std::memory_order_relaxed); };
  streamer_progress found = STREAMER_PROGRESS_INIT;
  found.bytes_total = read(progress.bytes_total);
  found.bytes_done = read(progress.bytes_done);
  found.bytes_skipped = read(progress.bytes_skipped);
  found.files_total = read(progress.files_total);
  found.files_done = read(progress.files_done);
  found.files_skipped = read(progress.files_skipped);
  copy_out_if_sound(found, progress_out);
}

void streamer_operation_free(streamer_operation* operation) {
  delete operation;
}

}  // extern "C"
