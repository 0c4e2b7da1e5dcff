// SPDX-License-Identifier: Apache-2.0
#include "engine/stats.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/counted.hpp"
#include "base/text.hpp"

namespace streamer::core::inline engine {

std::string_view held_back_by_name(HeldBackBy what) noexcept {
  switch (what) {
    case HeldBackBy::nothing:
      return "nothing";
    case HeldBackBy::storage:
      return "storage";
    case HeldBackBy::cpu:
      return "CPU";
    case HeldBackBy::memory_limit:
      return "memory limit";
    case HeldBackBy::consumer:
      return "consumer";
    case HeldBackBy::device_copy:
      return "device copy";
    case HeldBackBy::bandwidth_cap:
      return "bandwidth cap";
  }
  return "unknown";
}

void add_reader(LoadStats& all, const ReaderStats& reader) noexcept {
#define READER_STAT(name, meaning) all.name += reader.name.load(std::memory_order_relaxed);
#include "engine/load_stats.inc"
}

void add_reading(LoadStats& all, const LoadStats& reading) noexcept {
#define READER_STAT(name, meaning)
#define READING_STAT(name, meaning) all.name += reading.name;
#include "engine/load_stats.inc"
  all.bytes_read += reading.bytes_read;
  all.readers += reading.readers;
  all.storage_wait_ns += reading.storage_wait_ns;
  all.staging_bytes += reading.staging_bytes;
  all.uses_io_uring |= reading.uses_io_uring;
}

std::span<const StatRow> stat_rows() noexcept {
  static constexpr StatRow kRows[] = {
#define LOAD_STAT(name, start, meaning) {#name, meaning, &LoadStats::name},
#include "engine/load_stats.inc"
  };
  return kRows;
}

HeldBackBy judge(const LoadStats& stats) noexcept {
  // A consumer that waited for more than half of the load did not hold it back.
  const bool consumer_was_waiting = stats.consumer_wait_ns > stats.elapsed_ns / 2;
  const HeldBackBy window = consumer_was_waiting ? HeldBackBy::memory_limit : HeldBackBy::consumer;
  const std::array<std::pair<std::uint64_t, HeldBackBy>, 5> shares = {{
      {stats.storage_wait_ns, HeldBackBy::storage},
      {stats.reader_cpu_ns + stats.cpu_wait_ns, HeldBackBy::cpu},
      {stats.window_wait_ns, window},
      {stats.bandwidth_wait_ns, HeldBackBy::bandwidth_cap},
      {stats.staging_wait_ns, HeldBackBy::device_copy},
  }};
  const auto largest = *std::max_element(
      shares.begin(), shares.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  return largest.first == 0 ? HeldBackBy::nothing : largest.second;
}

std::string summary(const LoadStats& stats) {
  const double seconds = static_cast<double>(stats.elapsed_ns) / 1e9;
  const double rate = seconds > 0 ? static_cast<double>(stats.bytes_ready) / 1e9 / seconds : 0.0;
  return fmt::format(
      "load: {} of {}, {} of {}, in {:.3f} s ({:.2f} GB/s); {}, {}; held back by: {}",
      stats.items_ready, counted(stats.items_total, "tensor"), format_bytes(stats.bytes_ready),
      format_bytes(stats.bytes_total), seconds, rate, counted(stats.readers, "reader"),
      counted(stats.retries, "retry", "retries"), held_back_by_name(judge(stats)));
}

}  // namespace streamer::core::inline engine
