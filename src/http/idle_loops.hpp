// SPDX-License-Identifier: Apache-2.0
#pragma once
// Event loops that nobody uses now, with the connections that they keep.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/guarded.hpp"
#include "http/event_loop.hpp"

namespace streamer::core::inline http {

// Thread-safe. A loop that was taken is the caller's until it is given back, without transfers and
// with nothing that wakes it.
class IdleLoops {
 public:
  // nullptr: there is none.
  std::unique_ptr<EventLoop> take();
  void give(std::unique_ptr<EventLoop> loop);
  // Closes their connections.
  void clear();
  [[nodiscard]] std::size_t count() const;

 private:
  struct Kept {
    std::uint32_t generation = 0;  // fork_generation() when they were made
    std::vector<std::unique_ptr<EventLoop>> loops;
  };
  Guarded<Kept> kept_;
};

}  // namespace streamer::core::inline http
