// SPDX-License-Identifier: Apache-2.0
#pragma once
// Settings of a load.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/settings.hpp"
#include "gpu/device_memory.hpp"

namespace streamer::core::inline engine {

struct MemoryLimit {
  enum class Mode { automatic, unlimited, minimum, bytes };
  Mode mode = Mode::automatic;
  std::uint64_t bytes = 0;  // only for Mode::bytes
};

enum class FileIo { automatic, direct, buffered };

}  // namespace streamer::core::inline engine

namespace streamer::core::setting {

struct MemoryLimitType : PlainType {
  using Value = MemoryLimit;
  [[nodiscard]] std::optional<Value> read(std::string_view text) const;
  [[nodiscard]] std::string values() const;
};
using AutoOrOff = Choice<bool, 2>;
// "yes" and its like would be the name of a file that nobody has.
struct ManifestOrWord : Text {
  using Text::Text;
  [[nodiscard]] std::optional<Value> read(std::string_view text) const {
    return text == "on" || YesOrNo().read(text) ? std::nullopt : Text::read(text);
  }
};

inline constexpr Setting kChunkBytes{
    RowOf<Scope::load>{
        .name = "debug.chunk_bytes",
        .also = "RUNAI_STREAMER_CHUNK_BYTESIZE",
        .meaning = "How many bytes one read request asks for. auto is 2 MiB for files, and 1 to "
                   "8 MiB over a network, so that every connection gets several."},
    Bytes("auto", {.lowest = 4 * kKiB, .highest = kGiB})};

inline constexpr Setting kCoalesceGapBytes{
    RowOf<Scope::load>{
        .name = "debug.coalesce_gap_bytes",
        .meaning = "A gap of unwanted bytes between two wanted ranges is read and dropped if it is "
                   "no larger than this; a larger gap is skipped, with a separate request for each "
                   "side. auto is 16 KiB for files, and 1 MiB over a network."},
    OptionalBytes("auto")};

inline constexpr Setting kConcurrency{
    RowOf<Scope::load>{.name = "concurrency",
                       .also = "RUNAI_STREAMER_CONCURRENCY",
                       .meaning = "How many readers a load starts for files, and how many "
                                  "connections it uses over a network. auto is what the machine's "
                                  "processors can keep busy, and a few connections at first and "
                                  "more while they increase throughput."},
    Count("auto", 1, 1024)};

inline constexpr Setting kConnections{
    RowOf<Scope::load>{.name = "debug.connections",
                       .also = "RUNAI_STREAMER_S3_MAX_CONNECTIONS",
                       .meaning = "How many connections a load uses over a network, if that is "
                                  "not concurrency."},
    Count("auto", 1, 1024)};

inline constexpr Setting kDeviceAlignment{
    RowOf<Scope::load>{.name = "debug.device_alignment",
                       .also = "RUNAI_STREAMER_CUDA_ALIGNMENT",
                       .default_text = "512",
                       .meaning = "Tensors in the library's device memory begin at multiples of "
                                  "this. 0 is the size of the tensor's element."},
    PowerOfTwo("0", kMiB)};

inline constexpr Setting kDeviceAllocator{
    RowOf<Scope::load>{
        .name = "debug.device_allocator",
        .default_text = "malloc",
        .meaning = "Where the library allocates device memory from: cuMemAlloc, or the device's "
                   "memory pool (cuMemAllocAsync), which other parts of the process may share."},
    Choice<DeviceAllocator, 2>(
        {{"malloc", DeviceAllocator::malloc}, {"pool", DeviceAllocator::pool}})};

inline constexpr Setting kDeviceMemoryLimit{
    RowOf<Scope::load>{
        .name = "device_memory_limit",
        .default_text = "unlimited",
        .meaning = "How much memory of each device a load may hold for tensors that have not been "
                   "released. unlimited leaves room for all of them at once."},
    Bytes("unlimited", {.lowest = 1}, "bytes", "-1")};

inline constexpr Setting kDeviceStreams{
    RowOf<Scope::load>{
        .name = "debug.device_streams",
        .default_text = "1",
        .meaning =
            "How many streams a load uses on each device. The device still copies one at a time."},
    Count("", 1, 16)};

inline constexpr Setting kDirectDepth{
    RowOf<Scope::load>{
        .name = "debug.direct_depth",
        .meaning = "How many direct reads a reader keeps in flight through io_uring."},
    Count("auto", 1, 256)};

inline constexpr Setting kFileIo{
    RowOf<Scope::load>{
        .name = "file_io",
        .meaning = "How files are read. auto asks the page cache, chunk by chunk: cached chunks "
                   "are copied from it, others bypass it (O_DIRECT) where the file system allows."},
    Choice<FileIo, 3>(
        {{"auto", FileIo::automatic}, {"direct", FileIo::direct}, {"buffered", FileIo::buffered}})};

inline constexpr Setting kGpudirect{
    RowOf<Scope::load>{
        .name = "gpudirect",
        .default_text = "off",
        .meaning = "Whether chunks of files that are not in the page cache go to a device without "
                   "passing through host memory (GPUDirect Storage). on loads libcufile.so.0; what "
                   "it does not accept goes through host memory and is noted."},
    Text("on, or the path of libcufile", "off")};

inline constexpr Setting kHedging{
    RowOf<Scope::load>{.name = "debug.hedging",
                       .meaning =
                           "Whether the slowest requests of a load are made a second time on a new "
                           "connection."},
    AutoOrOff({{"auto", true}, {"off", false}})};

inline constexpr Setting kIoUring{
    RowOf<Scope::load>{
        .name = "debug.io_uring",
        .meaning = "Whether direct reads go through io_uring where the kernel allows it."},
    AutoOrOff({{"auto", true}, {"off", false}})};

inline constexpr Setting kLowSpeedLimit{
    RowOf<Scope::load>{
        .name = "debug.low_speed_limit",
        .also = "RUNAI_STREAMER_S3_LOW_SPEED_LIMIT",
        .default_text = "off",
        .meaning = "A connection that stays slower than this for the stall timeout is abandoned."},
    Bytes("off", {}, "bytes per second")};

inline constexpr Setting kMapCached{
    RowOf<Scope::load>{
        .name = "debug.map_cached",
        .meaning = "Whether tensors of files that are in the page cache are views of it, which are "
                   "copied when they are written to. auto needs files that can be kept from "
                   "changing meanwhile, file_io=auto, and no limit: a memory_limit of auto or "
                   "unlimited, and none of process_memory_limit."},
    AutoOrOff({{"auto", true}, {"off", false}})};

inline constexpr Setting kMaxBandwidth{
    RowOf<Scope::load>{.name = "max_bandwidth",
                       .default_text = "unlimited",
                       .meaning = "The most that a load reads per second, for shared links."},
    Bytes("unlimited", {.lowest = 64 * kKiB}, "bytes per second")};

inline constexpr Setting kMemoryLimit{
    RowOf<Scope::load>{
        .name = "memory_limit",
        .also = "RUNAI_STREAMER_MEMORY_LIMIT",
        .meaning = "How much host memory a load may hold between storage and the release of its "
                   "tensors. auto is process_memory_limit, shared with the other loads of the "
                   "process; minimum is the largest tensor, plus buffers for reading. "
                   "Otherwise buffers are within the limit, as far as it leaves room for them "
                   "beside the largest tensor. Memory of the caller does not count."},
    MemoryLimitType()};

inline constexpr Setting kProgressTimeoutMs{
    RowOf<Scope::load>{.name = "progress_timeout_ms",
                       .default_text = "120000",
                       .meaning = "A load over a network fails if no byte arrives for this long."},
    Duration::milliseconds_to(86'400'000)};

inline constexpr Setting kStagingBytes{
    RowOf<Scope::load>{
        .name = "debug.staging_bytes",
        .default_text = "256MiB",
        .meaning = "How much pinned host memory the bytes of a load pass through on their way "
                   "to each device; no more than memory_limit, and no less than two segments. "
                   "It is kept for the next load."},
    Bytes()};

inline constexpr Setting kStagingSegmentBytes{
    RowOf<Scope::load>{.name = "debug.staging_segment_bytes",
                       .default_text = "2MiB",
                       .meaning = "How many bytes are copied to a device at a time, and the most "
                                  "that one read request for a device reads from a file."},
    Bytes("", {.lowest = kPageBytes, .highest = 64 * kMiB, .multiple_of = kPageBytes})};

inline constexpr Setting kTargetGbps{
    RowOf<Scope::load>{
        .name = "debug.target_gbps",
        .also = "RUNAI_STREAMER_S3_TARGET_GBPS",
        .meaning = "The network's bandwidth, if known: a load then starts with as many connections "
                   "as that most likely takes (0.4 gigabits per second each) instead of 8."},
    Count("auto", 1, 1000, " (gigabits per second)")};

inline constexpr Setting kTensorAlignment{
    RowOf<Scope::load>{
        .name = "debug.tensor_alignment",
        .meaning = "The minimum alignment, in bytes, of a tensor in the library's own memory. auto "
                   "is the size of its element, which costs nothing with most files."},
    PowerOfTwo("auto", kPageBytes)};

inline constexpr Setting kVerify{
    RowOf<Scope::load>{
        .name = "verify",
        .default_text = "off",
        .meaning = "Whether whole objects are checked after loading: against the checksum of all "
                   "bytes that the store keeps (CRC32, CRC32C or CRC64NVME), or against a manifest "
                   "with lines as sha256sum writes them, or KIND:HEX NAME. An object for which the "
                   "store has no checksum, or which is not loaded completely, is a warning with "
                   "store and an error with required."},
    ManifestOrWord("store, required, or the path or URI of a manifest", "off")};

}  // namespace streamer::core::setting

namespace streamer::core::inline engine {

inline constexpr const SettingRow* kLoadSettings[] = {&setting::kChunkBytes,
                                                      &setting::kCoalesceGapBytes,
                                                      &setting::kConcurrency,
                                                      &setting::kConnections,
                                                      &setting::kDeviceAlignment,
                                                      &setting::kDeviceAllocator,
                                                      &setting::kDeviceMemoryLimit,
                                                      &setting::kDeviceStreams,
                                                      &setting::kDirectDepth,
                                                      &setting::kFileIo,
                                                      &setting::kGpudirect,
                                                      &setting::kHedging,
                                                      &setting::kIoUring,
                                                      &setting::kLowSpeedLimit,
                                                      &setting::kMapCached,
                                                      &setting::kMaxBandwidth,
                                                      &setting::kMemoryLimit,
                                                      &setting::kProgressTimeoutMs,
                                                      &setting::kStagingBytes,
                                                      &setting::kStagingSegmentBytes,
                                                      &setting::kTargetGbps,
                                                      &setting::kTensorAlignment,
                                                      &setting::kVerify};

// The settings of a load, read once when it starts.
using LoadSettings = SettingValues<Scope::load>;
Result<LoadSettings> read_load_settings(const Settings& settings);

}  // namespace streamer::core::inline engine
