// SPDX-License-Identifier: Apache-2.0
#include "engine/load_sizes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/text.hpp"

namespace streamer::core::inline engine {

namespace {

// Readers that block in their reads need to be many to keep storage busy.
constexpr std::uint32_t kBlockingReaders = 16;
constexpr std::uint32_t kMostReaders = 16;
// One network reader moves 1.5 to 2.5 GB/s (tests/bench/RESULTS.md).
constexpr std::uint32_t kMostNetworkReaders = 8;
constexpr std::uint32_t kFirstConnections = 8;
constexpr double kGbpsPerConnection = 0.4;
constexpr std::uint32_t kMostConnections = 256;
constexpr std::uint64_t kAutomaticChunkBytes = 2 * kMiB;
// A capped load reads in steps of this share of a second, so that the cap also holds for short
// times.
constexpr std::uint64_t kStepsPerSecond = 20;
constexpr std::uint64_t kLeastChunkBytes = 64 * kKiB;
// The share of free memory that a load takes by default.
constexpr std::uint64_t kAutomaticSharePercent = 80;

// How far sources run ahead of the consumer at first.
constexpr std::uint64_t kFirstAheadBytes = 128 * kMiB;
// Not smaller: each block ends with a short chunk, and its first and last pages are read twice.
constexpr std::uint64_t kBlockBytes = 8 * kMiB;

// Buffers for reading take at most this share of a limit.
constexpr std::uint64_t kBuffersPerLimit = 4;
// For one file reader: a few 2 MiB chunks that cannot land in place may be in flight.
constexpr std::uint64_t kUsualReaderBytes = 16 * kMiB;
constexpr std::uint64_t kLeastReaderBytes = 128 * kKiB;
// For one file reader without a memory limit.
constexpr std::uint64_t kMostReaderBytes = 64 * kMiB;
// For all connections: their receive buffers, and what libcurl and TLS keep beside them.
constexpr std::uint64_t kUsualNetworkBytes = 48 * kMiB;
constexpr std::uint64_t kLeastConnectionBytes = 128 * kKiB;
// What a load keeps for each item: plan, lease, queues (stress_test.cpp).
constexpr std::uint64_t kItemBytes = 216;

Error limit_too_small(const char* setting, const TensorView& tensor, std::uint64_t bytes,
                      std::uint64_t limit) {
  return Error(ErrorKind::memory_limit,
               fmt::format("tensor \"{}\" needs {} bytes ({}) at once, but {} is {} bytes ({}); "
                           "raise it to at least {}",
                           tensor.name, bytes, format_bytes(bytes), setting, limit,
                           format_bytes(limit), bytes));
}

// The same where nobody set the limit. why: "80 % of ...".
Error memory_too_small(const TensorView& tensor, std::uint64_t bytes, std::uint64_t limit,
                       std::string_view why) {
  return Error(
      ErrorKind::memory_limit,
      fmt::format("tensor \"{}\" needs {} bytes ({}) at once, but only {} may be used: {}; "
                  "free memory, or give the machine, its control group (the container's "
                  "limit) or the process (ulimit -v) more",
                  tensor.name, bytes, format_bytes(bytes), format_bytes(limit), why));
}

// What was chosen, and why.
template <typename T>
struct Chosen {
  T value;
  std::string reason;
};

// 0: no limit.
Chosen<std::uint64_t> limit_bytes(const MemoryLimit& limit, std::uint64_t largest_bytes,
                                  const Machine& machine) {
  switch (limit.mode) {
    case MemoryLimit::Mode::unlimited:
      return {0, "memory_limit is unlimited"};
    case MemoryLimit::Mode::minimum:
      return {std::max<std::uint64_t>(largest_bytes, 1),
              "memory_limit is minimum: the largest item"};
    case MemoryLimit::Mode::bytes:
      return {std::max<std::uint64_t>(limit.bytes, 1), "memory_limit"};
    case MemoryLimit::Mode::automatic:
      break;
  }
  if (machine.process_memory_bytes != 0)
    return {machine.process_memory_bytes, "process_memory_limit, with all other loads"};
  const std::uint64_t free_bytes = machine.free_memory_bytes;
  if (free_bytes == UINT64_MAX) return {0, "the system does not say how much memory is free"};
  const std::uint64_t held = machine.held_by_loads_bytes;
  return {std::max<std::uint64_t>((free_bytes + held) / 100 * kAutomaticSharePercent, 1),
          fmt::format("{} % of the {} that are free{}", kAutomaticSharePercent,
                      format_bytes(free_bytes),
                      held == 0 ? ""
                                : fmt::format(" and of the {} that loads of this process hold, "
                                              "with which it is shared",
                                              format_bytes(held)))};
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

// 0: no cap.
std::uint64_t bandwidth_cap(const LoadSettings& settings, const Machine& machine) {
  const std::uint64_t own = settings.get(setting::kMaxBandwidth);
  const std::uint64_t all = machine.process_bytes_per_s;
  return own == 0 || (all != 0 && all < own) ? all : own;
}

Chosen<std::uint64_t> wanted_chunk_bytes(const LoadSettings& settings, const Machine& machine) {
  const std::uint64_t given = settings.get(setting::kChunkBytes);
  const Chosen<std::uint64_t> chosen =
      given != 0 ? Chosen<std::uint64_t>{given, "debug.chunk_bytes"}
                 : Chosen<std::uint64_t>{kAutomaticChunkBytes, "the default"};
  const std::uint64_t bytes_per_s = bandwidth_cap(settings, machine);
  const std::uint64_t step = std::max(bytes_per_s / kStepsPerSecond, kLeastChunkBytes);
  if (bytes_per_s == 0 || step >= chosen.value) return chosen;
  const bool is_own = bytes_per_s == settings.get(setting::kMaxBandwidth);
  return {step, fmt::format("small steps, so that {} also holds for short times",
                            is_own ? "max_bandwidth" : "process_max_bandwidth")};
}

Chosen<std::uint32_t> wanted_file_readers(const LoadSettings& settings, ReadingFrom from,
                                          const Machine& machine) {
  if (const std::uint32_t given = settings.get(setting::kConcurrency); given != 0)
    return {given, "concurrency"};
  if (from.reads_block) return {kBlockingReaders, "a store's reads block"};
  if (!settings.get(setting::kIoUring)) return {kBlockingReaders, "io_uring is off: reads block"};
  if (settings.get(setting::kFileIo) == FileIo::buffered)
    return {kBlockingReaders, "files are read through the page cache: reads block"};
  if (!machine.has_io_uring) return {kBlockingReaders, "io_uring is not available: reads block"};
  return {std::clamp(machine.cores, 2U, kMostReaders),
          fmt::format("one for each of {} cores, 2 to {}", machine.cores, kMostReaders)};
}

// The program's own sockets and files need descriptors too.
std::uint32_t most_connections(const Machine& machine) {
  if (machine.file_descriptors == UINT64_MAX) return kMostConnections;
  const std::uint64_t ours =
      machine.file_descriptors > 128 ? (machine.file_descriptors - 128) / 2 : 4;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(ours, kMostConnections));
}

// 0: chosen while the load runs.
std::uint32_t given_connections(const LoadSettings& settings) {
  const std::uint32_t given = settings.get(setting::kConnections);
  return given != 0 ? given : settings.get(setting::kConcurrency);
}

Chosen<Tuner::Limits> tuner_limits(const LoadSettings& settings, std::uint64_t buffer_bytes,
                                   const Machine& machine) {
  const std::uint32_t fixed = given_connections(settings);
  const std::uint32_t by_descriptors = most_connections(machine);
  const auto most = static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(buffer_bytes / kLeastConnectionBytes, 1, by_descriptors));
  const std::string at_most =
      most == by_descriptors
          ? fmt::format("no more than {}, or half of the file descriptors", kMostConnections)
          : fmt::format("no more than {} of receive buffers allow", format_bytes(buffer_bytes));
  if (fixed != 0) {
    const char* const by =
        settings.get(setting::kConnections) != 0 ? "debug.connections" : "concurrency";
    return {{.first = std::min(fixed, most), .most = most, .is_fixed = true},
            fixed <= most ? by : fmt::format("{} is {}, but {}", by, fixed, at_most)};
  }
  const std::uint32_t first = std::min(kFirstConnections, most);
  const std::uint32_t target_gbps = settings.get(setting::kTargetGbps);
  if (target_gbps == 0) {
    return {{.first = first, .most = most},
            "at first, and more while they add throughput; " + at_most};
  }
  const auto wanted = static_cast<std::uint32_t>(std::ceil(target_gbps / kGbpsPerConnection));
  return {{.first = std::clamp(wanted, first, most), .most = most},
          fmt::format("debug.target_gbps at {} a connection; {}", kGbpsPerConnection, at_most)};
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
                            const TensorTable& tensors, ReadingFrom from, HostMemoryUse use,
                            const Machine& machine) {
  const MemoryNeed& need = list.memories[0];
  const MemoryLimit::Mode mode = settings.get(setting::kMemoryLimit).mode;
  LoadSizes sizes;
  const auto limit = limit_bytes(settings.get(setting::kMemoryLimit), need.largest_bytes, machine);
  sizes.limit_bytes = limit.value;
  sizes.device_window_bytes = TRY(device_window_bytes(settings, list, tensors));
  auto chunk_bytes = wanted_chunk_bytes(settings, machine);
  auto file_readers = wanted_file_readers(settings, from, machine);
  sizes.reader_buffer_bytes = kMostReaderBytes;
  sizes.network_buffer_bytes = kUsualNetworkBytes;
  if (sizes.limit_bytes != 0) {
    if (sizes.limit_bytes < need.largest_bytes) {
      const TensorView tensor = tensors[need.largest_tensor];
      if (mode == MemoryLimit::Mode::automatic && machine.process_memory_bytes == 0)
        return memory_too_small(tensor, need.largest_bytes, sizes.limit_bytes, limit.reason);
      const bool is_of_process = mode == MemoryLimit::Mode::automatic;
      return limit_too_small(is_of_process ? "process_memory_limit" : "memory_limit", tensor,
                             need.largest_bytes, sizes.limit_bytes);
    }
    const BufferNeed buffer = buffer_need(settings, file_readers.value, from);
    std::uint64_t buffers = std::min(buffer.usual, sizes.limit_bytes / kBuffersPerLimit);
    sizes.window_bytes = sizes.limit_bytes;
    if (use.limits_tensors_alone || mode == MemoryLimit::Mode::minimum) {
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
    const auto readers = static_cast<std::uint32_t>(
        std::clamp<std::uint64_t>(of_files / kLeastReaderBytes, 1, file_readers.value));
    if (readers < file_readers.value)
      file_readers = {readers, "as many as have buffers within the memory limit"};
    sizes.reader_buffer_bytes = std::max(of_files / readers, kLeastReaderBytes);
    // Two chunks of a reader, and the pages that its reads begin and end in: see DirectReads.
    const std::uint64_t two_chunks = sizes.reader_buffer_bytes / 8 * 7 - 4 * kPageBytes;
    const std::uint64_t half = round_down(two_chunks / 2, kPageBytes);
    if (from.files && half < chunk_bytes.value)
      chunk_bytes = {half, "two of them in each reader's buffer, within the memory limit"};
  }
  sizes.chunk_bytes = chunk_bytes.value;
  sizes.file_readers = file_readers.value;
  // One without a connection would only wait.
  const std::uint32_t fixed = given_connections(settings);
  // With two, the next load begins while the last requests of the one before it are on their way.
  const std::uint32_t fewest = from.takes_turns ? 2 : 1;
  sizes.network_readers = std::min(std::clamp(machine.cores / 2, fewest, kMostNetworkReaders),
                                   fixed == 0 ? kMostNetworkReaders : fixed);
  const bool is_elastic =
      use.is_elastic &&
      (mode == MemoryLimit::Mode::automatic || mode == MemoryLimit::Mode::unlimited) &&
      settings.get(setting::kTensorAlignment) <= kPageBytes;
  if (is_elastic) {
    const std::uint64_t most = sizes.window_bytes == 0 ? UINT64_MAX : sizes.window_bytes;
    sizes.ahead_bytes = std::clamp<std::uint64_t>(most / 4, 1, kFirstAheadBytes);
    sizes.block_bytes = std::clamp<std::uint64_t>(most / 16, kPageBytes, kBlockBytes);
  }
  auto connections = tuner_limits(settings, sizes.network_buffer_bytes, machine);
  sizes.connections = connections.value;

  auto& said = sizes.decisions;
  said.push_back({"memory", sizes.limit_bytes == 0 ? "no limit" : format_bytes(sizes.limit_bytes),
                  limit.reason});
  if (is_elastic) {
    said.push_back(
        {"window", format_bytes(sizes.ahead_bytes),
         "ahead of the consumer; twice as far whenever it waits behind a closed window"});
  } else if (sizes.window_bytes != 0) {
    said.push_back(
        {"window", format_bytes(sizes.window_bytes),
         "what the limit leaves after buffers, for tensors that have not been released"});
  }
  said.push_back({"chunk", format_bytes(sizes.chunk_bytes), std::move(chunk_bytes.reason)});
  if (from.files)
    said.push_back(
        {"file readers", fmt::format("{}", sizes.file_readers), std::move(file_readers.reason)});
  if (from.network) {
    said.push_back({"network readers", fmt::format("{}", sizes.network_readers),
                    fmt::format("one for every two of {} cores, {} to {}, no more than connections",
                                machine.cores, fewest, kMostNetworkReaders)});
    said.push_back(
        {"connections", fmt::format("{}", sizes.connections.first), std::move(connections.reason)});
  }
  return sizes;
}

}  // namespace streamer::core::inline engine
