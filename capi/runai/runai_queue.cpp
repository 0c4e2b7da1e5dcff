// SPDX-License-Identifier: Apache-2.0
#include "runai_queue.hpp"

#include <utility>

#include "base/fits_in_memory.hpp"

namespace streamer::capi {

namespace {

// One that is read, and one that follows it without a gap.
constexpr std::size_t kUnderWay = 2;

}  // namespace

RunaiQueue::~RunaiQueue() {
  {
    const std::lock_guard lock(mutex_);
    is_over_ = true;
    waiting_.clear();
    for (const Entry& entry : under_way_)
      entry.submission->cancel();
  }
  has_work_.notify_all();
  workers_.clear();  // joins
}

Result<void> RunaiQueue::add(std::uint64_t id, std::unique_ptr<RunaiSubmission> submission) {
  // One is enough.
  if (workers_.size() < kUnderWay) {
    auto worker = core::Thread::start("streamer-runai", [this] { work(); });
    if (!worker && workers_.empty()) return std::move(worker).error();
    if (worker) workers_.push_back(*std::move(worker));
  }
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back({id, std::move(submission)});
  }
  has_work_.notify_one();
  return {};
}

std::optional<RunaiAnswer> RunaiQueue::take(std::optional<std::chrono::milliseconds> limit) {
  std::unique_lock lock(mutex_);
  const auto is_there = [&] { return has_lost_ || !answers_.empty(); };
  if (!limit) {
    has_answer_.wait(lock, is_there);
  } else if (!has_answer_.wait_for(lock, *limit, is_there)) {
    return std::nullopt;
  }
  if (answers_.empty()) return RunaiAnswer{.response = {.code = kRunaiUnknown}};
  const RunaiAnswer answer = answers_.front();
  answers_.pop_front();
  return answer;
}

void RunaiQueue::work() {
  while (auto entry = begin_next()) {
    if (entry->submission) serve(*std::move(entry));
  }
}

// Its readers are in the pool behind those of all that came before. nullopt: the queue is over. One
// without a submission could not be begun.
std::optional<RunaiQueue::Entry> RunaiQueue::begin_next() {
  const std::lock_guard turn(turn_);
  std::optional<Entry> next;
  {
    std::unique_lock lock(mutex_);
    has_work_.wait(lock, [&] { return is_over_ || !waiting_.empty(); });
    if (is_over_) return std::nullopt;
    next = std::move(waiting_.front());
    waiting_.pop_front();
    under_way_.push_back(*next);
  }
  const bool fits = core::fits_in_memory([&] { next->submission->begin_or_fail(); });
  if (fits) return next;
  lose_answers();
  return Entry{next->id, nullptr};
}

void RunaiQueue::serve(Entry entry) {
  const bool fits = core::fits_in_memory([&] {
    while (const auto response = entry.submission->next()) {
      const bool is_last = entry.submission->left() == 0;
      if (is_last) {
        {
          const std::lock_guard lock(mutex_);
          std::erase_if(under_way_, [&](const Entry& one) { return one.id == entry.id; });
        }
        // Nothing of it writes to the program's memory any more once the program has its last.
        entry.submission.reset();
      }
      add_answer({entry.id, *response, is_last});
      if (is_last) return;
    }
  });
  if (!fits) lose_answers();
}

void RunaiQueue::lose_answers() {
  {
    const std::lock_guard lock(mutex_);
    has_lost_ = true;
  }
  has_answer_.notify_one();
}

void RunaiQueue::add_answer(const RunaiAnswer& answer) {
  {
    const std::lock_guard lock(mutex_);
    answers_.push_back(answer);
  }
  has_answer_.notify_one();
}

}  // namespace streamer::capi
