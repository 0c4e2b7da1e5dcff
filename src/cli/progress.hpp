// SPDX-License-Identifier: Apache-2.0
#pragma once
// How far a load is, on stderr: a bar that redraws itself on a terminal, a line now and then
// elsewhere.

#include <chrono>

#include "streamer/streamer.hpp"

namespace streamer::cli {

class Progress {
 public:
  Progress();
  // Cheap to call often: draws at most ten times a second, or prints a line every five seconds.
  void show(const LoadStats& stats);
  // Draws the last state and ends the line.
  void finish(const LoadStats& stats);

 private:
  void draw(const LoadStats& stats) const;

  const bool is_terminal_;
  std::chrono::steady_clock::time_point next_;
};

// bytes per second of a load, in units of 10^9.
[[nodiscard]] double gigabytes_per_second(std::uint64_t bytes, std::uint64_t elapsed_ns);

}  // namespace streamer::cli
