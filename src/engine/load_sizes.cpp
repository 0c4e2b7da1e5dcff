// SPDX-License-Identifier: Apache-2.0
#include "engine/load_sizes.hpp"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <thread>

#include "base/text.hpp"
#include "engine/direct_reads.hpp"
#include "memory/host_memory.hpp"

namespace streamer::core {

namespace {

// Readers that block in their reads need to be many to keep storage busy.
constexpr std::uint32_t kBlockingReaders = 16;
constexpr std::uint32_t kMostReaders = 16;
constexpr std::uint32_t kMostNetworkReaders = 8;
constexpr std::uint32_t kFirstConnections = 8;
constexpr double kGbpsPerConnection = 0.4;
constexpr std::uint32_t kMostConnections = 256;
constexpr std::uint64_t kAutomaticChunkBytes = 2 * kMiB;
// A capped load reads in steps of this share of a second, so that the cap holds at short range too.
constexpr std::uint64_t kStepsPerSecond = 20;
constexpr std::uint64_t kLeastChunkBytes = 64 * kKiB;
// How much of what is free a load takes if nobody says.
constexpr std::uint64_t kAutomaticSharePercent = 80;

// How far sources run ahead of the consumer at first.
constexpr std::uint64_t kFirstAheadBytes = 128 * kMiB;
// Each block's last chunk is a short one, and its first and last pages are read twice.
constexpr std::uint64_t kBlockBytes = 8 * kMiB;

// Buffers of reading take no more than this share of a limit.
constexpr std::uint64_t kBuffersPerLimit = 4;
// Of a reader of files: a few chunks of 2 MiB that cannot land in place may be in flight.
constexpr std::uint64_t kUsualReaderBytes = 16 * kMiB;
constexpr std::uint64_t kLeastReaderBytes = 128 * kKiB;
// Without a limit.
constexpr std::uint64_t kMostReaderBytes = 64 * kMiB;
// Of all connections: their receive buffers, and what libcurl and TLS keep beside them.
constexpr std::uint64_t kUsualNetworkBytes = 48 * kMiB;
constexpr std::uint64_t kLeastConnectionBytes = 128 * kKiB;
// What a load keeps of each item: plan, lease, queues (stress_test.cpp).
constexpr std::uint64_t kItemBytes = 216;

Error limit_too_small(const char* setting, const TensorView& tensor, std::uint64_t bytes,
                      std::uint64_t limit) {
  return Error(ErrorKind::memory_limit,
               fmt::format("tensor \"{}\" needs {} bytes ({}) at once, but {} is {} bytes ({}); "
                           "raise it to at least {}",
                           tensor.name, bytes, format_bytes(bytes), setting, limit,
                           format_bytes(limit), bytes));
}

// 0: no limit.
std::uint64_t limit_bytes(const MemoryLimit& limit, std::uint64_t largest_bytes) {
  switch (limit.mode) {
    case MemoryLimit::Mode::unlimited:
      return 0;
    case MemoryLimit::Mode::minimum:
      return std::max<std::uint64_t>(largest_bytes, 1);
    case MemoryLimit::Mode::bytes:
      return std::max<std::uint64_t>(limit.bytes, 1);
    case MemoryLimit::Mode::automatic:
      break;
  }
  const std::uint64_t available = available_host_memory();
  if (available == UINT64_MAX) return 0;
  return std::max<std::uint64_t>(available / 100 * kAutomaticSharePercent, 1);
}

// The same for each device.
Result<std::uint64_t> device_window_bytes(const LoadSettings& settings, const ReadingList& list,
                                          const TensorTable& tensors) {
  const std::uint64_t limit = settings.get(setting::kDeviceMemoryLimit);
  if (limit == 0) return 0;
  for (const MemoryNeed& need : list.memories) {
    if (need.device != kHost && limit < need.largest_bytes) {
      return limit_too_small("device_memory_limit", tensors[need.largest_tensor],
                             need.largest_bytes, limit);
    }
  }
  return limit;
}

std::uint64_t wanted_chunk_bytes(const LoadSettings& settings) {
  const std::uint64_t given = settings.get(setting::kChunkBytes);
  const std::uint64_t chosen = given != 0 ? given : kAutomaticChunkBytes;
  const std::uint64_t bytes_per_s = settings.get(setting::kMaxBandwidth);
  if (bytes_per_s == 0) return chosen;
  return std::min(chosen, std::max(bytes_per_s / kStepsPerSecond, kLeastChunkBytes));
}

std::uint32_t wanted_file_readers(const LoadSettings& settings, ReadingFrom from) {
  if (const std::uint32_t given = settings.get(setting::kConcurrency); given != 0) return given;
  const bool reads_block = from.reads_block || !settings.get(setting::kIoUring) ||
                           settings.get(setting::kFileIo) == FileIo::buffered ||
                           probe_io_uring() != 0;
  if (reads_block) return kBlockingReaders;
  return std::clamp(std::thread::hardware_concurrency(), 2U, kMostReaders);
}

// Sockets and files of the host's own need descriptors too.
std::uint32_t most_connections() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return kMostConnections;
  const std::uint64_t ours = limit.rlim_cur > 128 ? (limit.rlim_cur - 128) / 2 : 4;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(ours, kMostConnections));
}

// 0: chosen while the load runs.
std::uint32_t given_connections(const LoadSettings& settings) {
  const std::uint32_t given = settings.get(setting::kConnections);
  return given != 0 ? given : settings.get(setting::kConcurrency);
}

Tuner::Limits tuner_limits(const LoadSettings& settings, std::uint64_t buffer_bytes) {
  const std::uint32_t fixed = given_connections(settings);
  const auto most = static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(buffer_bytes / kLeastConnectionBytes, 1, most_connections()));
  if (fixed != 0) return {.first = std::min(fixed, most), .most = most, .is_fixed = true};
  const std::uint32_t first = std::min(kFirstConnections, most);
  const std::uint32_t target_gbps = settings.get(setting::kTargetGbps);
  if (target_gbps == 0) return {.first = first, .most = most};
  const auto wanted = static_cast<std::uint32_t>(std::ceil(target_gbps / kGbpsPerConnection));
  return {.first = std::clamp(wanted, first, most), .most = most};
}

// For files and for the network.
struct BufferNeed {
  std::uint64_t usual = 0;
  std::uint64_t least = 0;
};

BufferNeed buffer_need(const LoadSettings& settings, std::uint32_t file_readers, ReadingFrom from) {
  BufferNeed need;
  if (from.files) {
    need.usual += file_readers * kUsualReaderBytes;
    need.least += file_readers * kLeastReaderBytes;
  }
  if (from.network) {
    const std::uint32_t fixed = given_connections(settings);
    need.usual += kUsualNetworkBytes;
    need.least += std::max(fixed, kFirstConnections) * kLeastConnectionBytes;
  }
  return need;
}

}  // namespace

Result<LoadSizes> size_load(const LoadSettings& settings, const ReadingList& list,
                            const TensorTable& tensors, ReadingFrom from,
                            bool limits_tensors_alone) {
  const MemoryNeed& need = list.memories[0];
  LoadSizes sizes;
  sizes.limit_bytes = limit_bytes(settings.get(setting::kMemoryLimit), need.largest_bytes);
  sizes.device_window_bytes = TRY(device_window_bytes(settings, list, tensors));
  sizes.chunk_bytes = wanted_chunk_bytes(settings);
  sizes.file_readers = wanted_file_readers(settings, from);
  sizes.reader_buffer_bytes = kMostReaderBytes;
  sizes.network_buffer_bytes = kUsualNetworkBytes;
  if (sizes.limit_bytes != 0) {
    if (sizes.limit_bytes < need.largest_bytes) {
      return limit_too_small("memory_limit", tensors[need.largest_tensor], need.largest_bytes,
                             sizes.limit_bytes);
    }
    const BufferNeed buffer = buffer_need(settings, sizes.file_readers, from);
    std::uint64_t buffers = std::min(buffer.usual, sizes.limit_bytes / kBuffersPerLimit);
    sizes.window_bytes = sizes.limit_bytes;
    if (limits_tensors_alone ||
        settings.get(setting::kMemoryLimit).mode == MemoryLimit::Mode::minimum) {
      buffers = std::max(buffers, buffer.least);
    } else {
      const std::uint64_t beside = sizes.limit_bytes - need.largest_bytes;
      const std::uint64_t of_items =
          std::min({list.wanted.size() * kItemBytes, sizes.limit_bytes / kBuffersPerLimit, beside});
      buffers = std::min(buffers, beside - of_items);
      sizes.window_bytes -= buffers + of_items;
    }
    sizes.network_buffer_bytes = from.files ? buffers / 2 : buffers;
    const std::uint64_t of_files = from.network ? buffers / 2 : buffers;
    sizes.file_readers = static_cast<std::uint32_t>(
        std::clamp<std::uint64_t>(of_files / kLeastReaderBytes, 1, sizes.file_readers));
    sizes.reader_buffer_bytes = std::max(of_files / sizes.file_readers, kLeastReaderBytes);
    // Two chunks of a reader, and the pages that its reads begin and end in: see DirectReads.
    const std::uint64_t two_chunks = sizes.reader_buffer_bytes / 8 * 7 - 4 * kPageBytes;
    if (from.files)
      sizes.chunk_bytes = std::min(sizes.chunk_bytes, round_down(two_chunks / 2, kPageBytes));
  }
  const MemoryLimit::Mode mode = settings.get(setting::kMemoryLimit).mode;
  const bool is_elastic =
      (mode == MemoryLimit::Mode::automatic || mode == MemoryLimit::Mode::unlimited) &&
      settings.get(setting::kTensorAlignment) <= kPageBytes;
  if (is_elastic) {
    const std::uint64_t most = sizes.window_bytes == 0 ? UINT64_MAX : sizes.window_bytes;
    sizes.ahead_bytes = std::clamp<std::uint64_t>(most / 4, 1, kFirstAheadBytes);
    sizes.block_bytes = std::clamp<std::uint64_t>(most / 16, kPageBytes, kBlockBytes);
  }
  sizes.connections = tuner_limits(settings, sizes.network_buffer_bytes);
  return sizes;
}

// One moves 1.5 to 2.5 GB/s (tests/bench/RESULTS.md).
std::uint32_t network_reader_count(std::size_t chunks) {
  if (chunks == 0) return 0;
  return std::clamp(std::thread::hardware_concurrency() / 2, 1U, kMostNetworkReaders);
}

}  // namespace streamer::core
