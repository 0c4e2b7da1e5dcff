// SPDX-License-Identifier: Apache-2.0
#pragma once
// The readers of several loads on the same threads. Those of a load begin, one after the other, as
// readers of the loads before it end: storage always has work, bytes arrive in the order in which
// loads were started, and there are no more threads than one load wants. Over a network, a load
// goes on with the connections of those before it.

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <vector>

#include "base/result.hpp"
#include "base/thread.hpp"
#include "http/idle_loops.hpp"

namespace streamer::core::inline engine {

// Thread-safe. Outlives the loads that read on it.
class ReaderPool {
 public:
  // Connections that no load uses are closed after this long.
  static constexpr Milliseconds kIdleFor{10'000};

  explicit ReaderPool(Milliseconds idle_for = kIdleFor) : idle_for_(idle_for) {}
  ReaderPool(const ReaderPool&) = delete;
  ReaderPool& operator=(const ReaderPool&) = delete;
  // Every load has ended its readers.
  ~ReaderPool();

  // Runs each body once, in this order and after those that were given before. There are then as
  // many threads as the longest list had bodies, or as many as could be started. None is run, and
  // it fails, if those are fewer than `needed`: so many of the load's readers may wait for each
  // other. Bodies do not throw.
  Result<void> run(const void* load, std::vector<std::function<void()>> bodies, std::size_t needed);
  // Drops what has not begun of the load's, and waits for what has.
  void end(const void* load) noexcept;

  [[nodiscard]] std::size_t threads() const;
  // Of network readers, from load to load.
  [[nodiscard]] IdleLoops& loops() noexcept { return loops_; }

 private:
  struct Reader {
    const void* load;
    std::function<void()> body;
  };

  void work();

  const Milliseconds idle_for_;
  IdleLoops loops_;
  mutable std::mutex mutex_;
  std::condition_variable has_changed_;  // waiting_, running_ or is_over_
  std::deque<Reader> waiting_;
  std::vector<const void*> running_;  // by reader: its load
  bool is_over_ = false;
  std::vector<Thread> threads_;
};

}  // namespace streamer::core::inline engine
