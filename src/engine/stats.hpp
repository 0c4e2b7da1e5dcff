// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a load did and what held it back.

#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace streamer::core::inline engine {

// The numbers are those of STREAMER_HELD_BACK_BY_* in streamer.h.
enum class HeldBackBy : std::uint32_t {
  nothing = 0,
  storage = 1,
  cpu = 2,
  memory_limit = 3,
  consumer = 4,
  device_copy = 5,
  bandwidth_cap = 6,
};

// "storage", "memory limit". Static storage, NUL-terminated.
[[nodiscard]] std::string_view held_back_by_name(HeldBackBy what) noexcept;

// Every row of load_stats.inc. Times in nanoseconds.
struct LoadStats {
#define LOAD_STAT(name, start, meaning) std::uint64_t name = start;
#include "engine/load_stats.inc"
};

// The rows that readers count, on cache lines of their reader's own. Written by it, read by all.
struct alignas(64) ReaderStats {
#define READER_STAT(name, meaning) std::atomic<std::uint64_t> name{0};
#include "engine/load_stats.inc"
};

// For a counter with one writer, which avoids the locked addition. relaxed: counters publish
// nothing.
inline void add(std::atomic<std::uint64_t>& counter, std::uint64_t amount) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
}

// Adds what one reader counted.
void add_reader(LoadStats& all, const ReaderStats& reader) noexcept;
// Adds what a load counted while reading to the load that it reads for.
void add_reading(LoadStats& all, const LoadStats& reading) noexcept;

// What the list says of a row.
struct StatRow {
  const char* name;
  const char* meaning;
  std::uint64_t LoadStats::*value;
};
[[nodiscard]] std::span<const StatRow> stat_rows() noexcept;

// Where the readers spent most of their time; pure. Waiting for the window counts as the memory
// limit while the consumer was waiting too, and otherwise as the consumer, which did not take what
// was ready.
[[nodiscard]] HeldBackBy judge(const LoadStats& stats) noexcept;

// What a load did, in one line for the log.
[[nodiscard]] std::string summary(const LoadStats& stats);

}  // namespace streamer::core::inline engine
