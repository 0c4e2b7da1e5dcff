// SPDX-License-Identifier: Apache-2.0
#include "cli/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "cli/command.hpp"

namespace streamer::cli {

namespace {

constexpr std::chrono::milliseconds kRedraw{100};
constexpr std::chrono::seconds kLine{5};
constexpr std::size_t kBarWidth = 30;

}  // namespace

double gigabytes_per_second(std::uint64_t bytes, std::uint64_t elapsed_ns) {
  // Bytes per nanosecond are 10^9 bytes per second.
  return elapsed_ns == 0 ? 0 : static_cast<double>(bytes) / static_cast<double>(elapsed_ns);
}

Progress::Progress()
    : is_terminal_(::isatty(STDERR_FILENO) != 0),
      next_(std::chrono::steady_clock::now() +
            (is_terminal_ ? std::chrono::nanoseconds(kRedraw) : std::chrono::nanoseconds(kLine))) {}

void Progress::show(const LoadStats& stats) {
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return;
  next_ =
      now + (is_terminal_ ? std::chrono::nanoseconds(kRedraw) : std::chrono::nanoseconds(kLine));
  draw(stats);
  if (!is_terminal_) write_to(stderr, "\n");
}

void Progress::finish(const LoadStats& stats) {
  if (!is_terminal_) return;
  draw(stats);
  write_to(stderr, "\n");
}

void Progress::draw(const LoadStats& stats) const {
  // What was read may be a little more than what was asked for.
  const std::uint64_t done = std::min(stats.bytes_read, stats.bytes_total);
  const double share = stats.bytes_total == 0
                           ? 1
                           : static_cast<double>(done) / static_cast<double>(stats.bytes_total);
  const auto filled = static_cast<std::size_t>(share * kBarWidth);
  const std::string bar = std::string(filled, '#') + std::string(kBarWidth - filled, '.');
  write_to(stderr, "{}[{}] {:3.0f} %  {} of {}  {:.2f} GB/s  {}/{} tensors",
           is_terminal_ ? "\r" : "", bar, share * 100, human_bytes(done),
           human_bytes(stats.bytes_total), gigabytes_per_second(done, stats.elapsed_ns),
           stats.items_ready, stats.items_total);
  std::fflush(stderr);
}

}  // namespace streamer::cli
