// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a load did and what held it back.

#include <cstdint>
#include <string>
#include <string_view>

namespace streamer::core {

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

// Times in nanoseconds; fields as in streamer_load_stats of streamer.h.
struct LoadStats {
  std::uint64_t items_total = 0;
  std::uint64_t items_ready = 0;
  std::uint64_t bytes_total = 0;
  std::uint64_t bytes_ready = 0;
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_direct = 0;
  std::uint64_t bytes_page_cache = 0;
  std::uint64_t bytes_buffered = 0;
  std::uint64_t bytes_bounced = 0;
  std::uint64_t chunks = 0;
  std::uint64_t retries = 0;
  std::uint64_t readers = 0;
  std::uint64_t memory_limit = UINT64_MAX;
  std::uint64_t arena_bytes = 0;
  std::uint64_t buffer_bytes = 0;
  std::uint64_t elapsed_ns = 0;
  std::uint64_t reader_cpu_ns = 0;
  std::uint64_t storage_wait_ns = 0;
  std::uint64_t window_wait_ns = 0;
  std::uint64_t bandwidth_wait_ns = 0;
  std::uint64_t consumer_wait_ns = 0;
  bool uses_io_uring = false;
  std::uint64_t bytes_network = 0;
  std::uint64_t bytes_discarded = 0;  // of those, what came twice
  std::uint64_t requests = 0;
  std::uint64_t hedges = 0;
  std::uint64_t most_connections = 0;
  std::uint64_t objects = 0;
  std::uint64_t objects_verified = 0;
  std::uint64_t bytes_to_devices = 0;  // with padding
  std::uint64_t staging_wait_ns = 0;
  std::uint64_t staging_bytes = 0;
  std::uint64_t device_bytes = 0;
  std::uint64_t bytes_past_host = 0;  // of bytes_direct
  std::uint64_t bytes_sent = 0;       // to other ranks
  std::uint64_t bytes_received = 0;   // from other ranks
  std::uint64_t exchange_wait_ns = 0;
  std::uint32_t rank = 0;
  std::uint32_t ranks = 1;
};

// Where the readers spent most of their time; pure. Waiting for the window is laid to the memory
// limit while the consumer was waiting too, and else to the consumer, who did not come for what was
// ready.
[[nodiscard]] HeldBackBy judge(const LoadStats& stats) noexcept;

// What a load did, in one line for the log.
[[nodiscard]] std::string summary(const LoadStats& stats);

}  // namespace streamer::core
