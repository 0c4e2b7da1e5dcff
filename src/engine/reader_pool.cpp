// SPDX-License-Identifier: Apache-2.0
#include "engine/reader_pool.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace streamer::core::inline engine {

ReaderPool::~ReaderPool() {
  {
    const std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  has_changed_.notify_all();
  threads_.clear();  // joins
}

Result<void> ReaderPool::run(const void* load, std::vector<std::function<void()>> bodies,
                             std::size_t needed) {
  {
    const std::lock_guard lock(mutex_);
    // In advance: the threads must not have to allocate.
    threads_.reserve(bodies.size());
    running_.reserve(bodies.size());
    while (threads_.size() < bodies.size()) {
      auto thread =
          Thread::start(fmt::format("streamer-read{}", threads_.size()), [this] { work(); });
      if (!thread && threads_.size() < needed) return std::move(thread).error();
      if (!thread) break;
      threads_.push_back(*std::move(thread));
    }
    for (std::function<void()>& body : bodies)
      waiting_.push_back({load, std::move(body)});
  }
  has_changed_.notify_all();
  return {};
}

void ReaderPool::end(const void* load) noexcept {
  std::unique_lock lock(mutex_);
  std::erase_if(waiting_, [&](const Reader& reader) { return reader.load == load; });
  has_changed_.wait(
      lock, [&] { return std::find(running_.begin(), running_.end(), load) == running_.end(); });
}

std::size_t ReaderPool::threads() const {
  const std::lock_guard lock(mutex_);
  return threads_.size();
}

void ReaderPool::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto has_work = [&] { return is_over_ || !waiting_.empty(); };
    // Whoever gave a loop back comes by here afterwards.
    if (loops_.count() == 0) {
      has_changed_.wait(lock, has_work);
    } else if (!has_changed_.wait_for(lock, idle_for_, has_work)) {
      if (!running_.empty()) continue;
      lock.unlock();
      loops_.clear();
      lock.lock();
      continue;
    }
    if (waiting_.empty()) return;
    Reader reader = std::move(waiting_.front());
    waiting_.pop_front();
    running_.push_back(reader.load);
    lock.unlock();
    reader.body();
    reader.body = nullptr;  // what it holds is gone before the load learns of its end
    lock.lock();
    running_.erase(std::find(running_.begin(), running_.end(), reader.load));
    has_changed_.notify_all();
  }
}

}  // namespace streamer::core::inline engine
