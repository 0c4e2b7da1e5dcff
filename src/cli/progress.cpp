// SPDX-License-Identifier: Apache-2.0
#include "cli/progress.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "cli/output.hpp"

namespace streamer::cli {

namespace {

constexpr std::chrono::milliseconds kRedraw{100};
constexpr std::chrono::seconds kLine{5};
constexpr std::size_t kWidestBar = 30;
constexpr std::size_t kNarrowestBar = 8;

double share_of(const ProgressState& state) {
  if (state.bytes_total == 0) return 1;
  return std::min(1.0,
                  static_cast<double>(state.bytes_done) / static_cast<double>(state.bytes_total));
}

std::string bar_of(double share, std::size_t width) {
  const auto filled = static_cast<std::size_t>(share * static_cast<double>(width));
  return fmt::format("[{}{}]", std::string(filled, '#'), std::string(width - filled, '.'));
}

// "1:05", "2:00:07".
std::string clock_text(double seconds) {
  const auto whole = static_cast<std::uint64_t>(seconds);
  const std::uint64_t minutes = whole / 60;
  if (minutes < 60) return fmt::format("{}:{:02}", minutes, whole % 60);
  return fmt::format("{}:{:02}:{:02}", minutes / 60, minutes % 60, whole % 60);
}

std::string time_text(const ProgressState& state) {
  constexpr double kLongest = 100 * 3600;  // beyond that it is no forecast
  const double elapsed = static_cast<double>(state.elapsed_ns) * 1e-9;
  if (state.bytes_done >= state.bytes_total) return "took " + clock_text(elapsed);
  const auto left = static_cast<double>(state.bytes_total - state.bytes_done);
  const double seconds =
      state.bytes_moved == 0 ? kLongest : left * elapsed / static_cast<double>(state.bytes_moved);
  return seconds < kLongest ? "ETA " + clock_text(seconds) : "ETA -:--";
}

std::size_t columns_of_terminal() {
  winsize size{};
  const bool is_known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col != 0;
  return is_known ? size.ws_col : 80;
}

}  // namespace

double gigabytes_per_second(std::uint64_t bytes, std::uint64_t elapsed_ns) {
  // Bytes per nanosecond are 10^9 bytes per second.
  return elapsed_ns == 0 ? 0 : static_cast<double>(bytes) / static_cast<double>(elapsed_ns);
}

std::string progress_line(const ProgressState& state, std::size_t columns) {
  const double share = share_of(state);
  std::string line = fmt::format("{:3.0f} %", share * 100);
  for (const std::string& part :
       {human_rate(state.bytes_moved, state.elapsed_ns), time_text(state),
        fmt::format("{} of {}", human_bytes(state.bytes_done), human_bytes(state.bytes_total)),
        fmt::format("{}/{} {}", state.items_done, state.items_total, state.items)}) {
    if (line.size() + 2 + part.size() > columns) break;
    line += "  " + part;
  }
  const std::size_t around = 3;  // its brackets, and a space
  const std::size_t room = columns - std::min(columns, line.size() + around);
  return room < kNarrowestBar ? line : bar_of(share, std::min(room, kWidestBar)) + " " + line;
}

ProgressState progress_of(const LoadStats& stats) {
  // What was read may be a little more than what was asked for.
  const std::uint64_t done = std::min(stats.bytes_read, stats.bytes_total);
  return {done,     stats.bytes_total, done, stats.elapsed_ns, stats.items_ready, stats.items_total,
          "tensors"};
}

ProgressDisplay::ProgressDisplay()
    : is_terminal_(::isatty(STDERR_FILENO) != 0),
      next_(std::chrono::steady_clock::now() +
            (is_terminal_ ? std::chrono::nanoseconds(kRedraw) : std::chrono::nanoseconds(kLine))) {}

void ProgressDisplay::show(const ProgressState& state) {
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return;
  next_ =
      now + (is_terminal_ ? std::chrono::nanoseconds(kRedraw) : std::chrono::nanoseconds(kLine));
  draw(state);
}

void ProgressDisplay::finish(const ProgressState& state) {
  if (!is_terminal_) return;
  draw(state);
  write_text(stderr, "\n");
}

void ProgressDisplay::draw(const ProgressState& state) {
  if (!is_terminal_) {
    write_text(stderr, progress_line(state, 200) + "\n");
    return;
  }
  // The last column stays free: some terminals begin a new line there.
  const std::string line = progress_line(state, columns_of_terminal() - 1);
  // Spaces over the rest of a longer line.
  const std::size_t rest = drawn_columns_ - std::min(drawn_columns_, line.size());
  write_to(stderr, "\r{}{}", line, std::string(rest, ' '));
  drawn_columns_ = line.size();
  std::fflush(stderr);
}

}  // namespace streamer::cli
