// SPDX-License-Identifier: Apache-2.0
#include "http/idle_loops.hpp"

#include <utility>

#include "base/fork.hpp"

namespace streamer::core::inline http {

std::unique_ptr<EventLoop> IdleLoops::take() {
  return kept_.with([](Kept& kept) -> std::unique_ptr<EventLoop> {
    if (kept.generation != fork_generation()) {
      // The connections are the parent's: EventLoop's destructor does not touch them.
      kept.loops.clear();
      kept.generation = fork_generation();
    }
    if (kept.loops.empty()) return nullptr;
    auto last = std::move(kept.loops.back());
    kept.loops.pop_back();
    return last;
  });
}

void IdleLoops::give(std::unique_ptr<EventLoop> loop) {
  kept_.with([&](Kept& kept) { kept.loops.push_back(std::move(loop)); });
}

void IdleLoops::clear() {
  // Closed outside the lock.
  const auto loops = kept_.with([](Kept& kept) { return std::exchange(kept.loops, {}); });
}

std::size_t IdleLoops::count() const {
  return kept_.with([](const Kept& kept) { return kept.loops.size(); });
}

}  // namespace streamer::core::inline http
