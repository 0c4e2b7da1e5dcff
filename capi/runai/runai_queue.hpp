// SPDX-License-Identifier: Apache-2.0
#pragma once
// Serves the submissions of one handle in the order in which they came. Two are under way at a
// time, on one pool of readers: the second is opened while the first is read, and its readers begin
// as those of the first end.

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/thread.hpp"
#include "engine/reader_pool.hpp"
#include "runai_submission.hpp"

namespace streamer::capi {

struct RunaiAnswer {
  std::uint64_t submission = 0;
  RunaiResponse response;
  bool is_last = false;
};

// For one thread at a time, that of the handle.
class RunaiQueue {
 public:
  RunaiQueue() = default;
  RunaiQueue(const RunaiQueue&) = delete;
  RunaiQueue& operator=(const RunaiQueue&) = delete;
  // Drops what waits, cancels what is under way, and waits for its end.
  ~RunaiQueue();

  // For submissions that are added.
  [[nodiscard]] core::ReaderPool& pool() noexcept { return pool_; }
  // It has not begun, and owes responses. Errors: of the system, which has no thread for it.
  Result<void> add(std::uint64_t id, std::unique_ptr<RunaiSubmission> submission);
  // Waits for the next response of any. nullopt: none came in time. Without a limit there must be
  // one to come.
  std::optional<RunaiAnswer> take(std::optional<std::chrono::milliseconds> limit);

 private:
  struct Entry {
    std::uint64_t id;
    std::shared_ptr<RunaiSubmission> submission;
  };

  void work();
  std::optional<Entry> begin_next();
  void serve(Entry entry);
  void add_answer(const RunaiAnswer& answer);
  void lose_answers();

  core::ReaderPool pool_;  // first: used by all the rest
  std::mutex turn_;        // to begin: one at a time, in order
  std::mutex mutex_;       // of what follows
  std::condition_variable has_work_;
  std::condition_variable has_answer_;
  std::deque<Entry> waiting_;
  std::vector<Entry> under_way_;
  std::deque<RunaiAnswer> answers_;
  bool has_lost_ = false;  // some answers will never come
  bool is_over_ = false;
  std::vector<core::Thread> workers_;  // last: joined first
};

}  // namespace streamer::capi
