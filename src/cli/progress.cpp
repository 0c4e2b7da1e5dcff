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

std::string bar_of(double share) {
  const auto filled = static_cast<std::size_t>(std::clamp(share, 0.0, 1.0) * kBarWidth);
  return std::string(filled, '#') + std::string(kBarWidth - filled, '.');
}

double share_of(std::uint64_t done, std::uint64_t total) {
  return total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total);
}

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
  const double share = share_of(done, stats.bytes_total);
  write_to(stderr, "{}[{}] {:3.0f} %  {} of {}  {:.2f} GB/s  {}/{} tensors",
           is_terminal_ ? "\r" : "", bar_of(share), share * 100, human_bytes(done),
           human_bytes(stats.bytes_total), gigabytes_per_second(done, stats.elapsed_ns),
           stats.items_ready, stats.items_total);
  std::fflush(stderr);
}

bool PullBar::is_wanted() {
  return ::isatty(STDERR_FILENO) != 0;
}

void PullBar::show(const streamer::Progress& progress) {
  // Until the listing is there.
  if (progress.files_total == 0) return;
  const double share = share_of(progress.bytes_done, progress.bytes_total);
  const std::chrono::nanoseconds elapsed = std::chrono::steady_clock::now() - began_;
  const std::uint64_t copied =
      progress.bytes_done - std::min(progress.bytes_skipped, progress.bytes_done);
  // Behind it the rest of a longer line that was there is erased.
  write_to(stderr, "\r[{}] {:3.0f} %  {} of {}  {:.2f} GB/s  {}/{} files\x1b[K", bar_of(share),
           share * 100, human_bytes(progress.bytes_done), human_bytes(progress.bytes_total),
           gigabytes_per_second(copied, static_cast<std::uint64_t>(elapsed.count())),
           progress.files_done, progress.files_total);
  std::fflush(stderr);
  has_drawn_ = true;
}

void PullBar::finish(const streamer::Progress& progress) {
  show(progress);
  if (has_drawn_) write_to(stderr, "\n");
}

}  // namespace streamer::cli
