// SPDX-License-Identifier: Apache-2.0
#pragma once
// How far a load or a pull is, on stderr: a line that redraws itself on a terminal, elsewhere a
// line now and then.

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "streamer/streamer.hpp"

namespace streamer::cli {

// Moments of work in bytes, which is made of items.
struct ProgressState {
  std::uint64_t bytes_done = 0;
  std::uint64_t bytes_total = 0;
  std::uint64_t bytes_moved = 0;  // of bytes_done; what was there already took no time
  std::uint64_t elapsed_ns = 0;
  std::uint64_t items_done = 0;
  std::uint64_t items_total = 0;
  std::string_view items;  // "tensors"
};

// Pure. What fits into that many columns: at least the share, then the rate and the time that is
// left (or, at the end, that it took), then bytes, items and a bar.
[[nodiscard]] std::string progress_line(const ProgressState& state, std::size_t columns);

// The line on stderr. Cheap to call often.
class ProgressDisplay {
 public:
  ProgressDisplay();
  // Draws at most ten times a second on a terminal, elsewhere every five seconds.
  void show(const ProgressState& state);
  // On a terminal: draws the last state and ends the line.
  void finish(const ProgressState& state);

 private:
  void draw(const ProgressState& state);

  const bool is_terminal_;
  std::chrono::steady_clock::time_point next_;
  std::size_t drawn_columns_ = 0;  // of the line that stands there
};

[[nodiscard]] ProgressState progress_of(const LoadStats& stats);

// bytes per second of a load, in units of 10^9.
[[nodiscard]] double gigabytes_per_second(std::uint64_t bytes, std::uint64_t elapsed_ns);

}  // namespace streamer::cli
