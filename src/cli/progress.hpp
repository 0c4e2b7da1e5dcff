// SPDX-License-Identifier: Apache-2.0
#pragma once
// How far a load or a pull is, on stderr: a bar that redraws itself on a terminal; elsewhere a line
// now and then of a load, and nothing of a pull.

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

class PullBar {
 public:
  // Whether stderr is a terminal.
  [[nodiscard]] static bool is_wanted();

  void show(const streamer::Progress& progress);
  // Draws the last state and ends the line.
  void finish(const streamer::Progress& progress);

 private:
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  bool has_drawn_ = false;
};

// bytes per second of a load, in units of 10^9.
[[nodiscard]] double gigabytes_per_second(std::uint64_t bytes, std::uint64_t elapsed_ns);

}  // namespace streamer::cli
