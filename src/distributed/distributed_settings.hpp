// SPDX-License-Identifier: Apache-2.0
#pragma once
// Settings of loads that ranks share.

#include "base/bytes.hpp"
#include "base/settings.hpp"
#include "distributed/schedule.hpp"

namespace streamer::core::inline distributed {

// Which ranks share a load: those of each machine, or all of them.
enum class RankScope { node, all };

}  // namespace streamer::core::inline distributed

namespace streamer::core::setting {

inline constexpr Setting kDistributedBufferBytes{
    RowOf<Scope::ranks>{
        .name = "debug.distributed_buffer_bytes",
        .also = "RUNAI_STREAMER_DIST_BUFFER_MIN_BYTESIZE",
        .default_text = "128MiB",
        .meaning =
            "In a load that ranks share: the most that a rank receives in one round. Up to three "
            "times as much memory is used: for what the rank reads ahead, sends and receives. "
            "Values below 1MiB are raised to that, values above 16GiB are lowered to that."},
    Bytes("", {.lowest = kMiB, .highest = 16 * kGiB, .are_soft = true})};

inline constexpr Setting kDistributedMpi{
    RowOf<Scope::ranks>{.name = "debug.distributed_mpi",
                        .meaning = "Where libstreamer_mpi.so is. auto looks beside the library or "
                                   "the command, then where the system does."},
    Text("a path")};

inline constexpr Setting kDistributedNccl{
    RowOf<Scope::ranks>{.name = "debug.distributed_nccl",
                        .meaning = "Which NCCL to use. auto is libnccl.so.2, or the one that the "
                                   "process has already loaded."},
    Text("a path")};

inline constexpr Setting kDistributedPartition{
    RowOf<Scope::ranks>{
        .name = "debug.distributed_partition",
        .also = "RUNAI_STREAMER_PARTITION_POLICY",
        .default_text = "chunks",
        .meaning =
            "What each rank reads: an even share of the pieces of every file, or whole files."},
    Choice<PartitionPolicy, 2>(
        {{"chunks", PartitionPolicy::chunks}, {"files", PartitionPolicy::files}})};

inline constexpr Setting kDistributedScope{
    RowOf<Scope::ranks>{
        .name = "distributed_scope",
        .also = "RUNAI_STREAMER_DIST_GLOBAL",
        .default_text = "node",
        .meaning = "Which ranks share a load: those of each machine, or all of them. Used where "
                   "the communicator is made: by the command and the Python packages."},
    Choice<RankScope, 2>({{"node", RankScope::node, "0"}, {"all", RankScope::all, "1"}})};

inline constexpr Setting kDistributedTimeoutS{
    RowOf<Scope::ranks>{.name = "distributed_timeout_s",
                        .also = "RUNAI_STREAMER_DIST_TIMEOUT",
                        .default_text = "600",
                        .meaning = "How long a rank waits for the others, each time it needs them, "
                                   "before the load fails."},
    Duration::seconds_to(86'400)};

}  // namespace streamer::core::setting

namespace streamer::core::inline distributed {

inline constexpr const SettingRow* kDistributedSettings[] = {
    &setting::kDistributedBufferBytes, &setting::kDistributedMpi,   &setting::kDistributedNccl,
    &setting::kDistributedPartition,   &setting::kDistributedScope, &setting::kDistributedTimeoutS};

using DistributedSettings = SettingValues<Scope::ranks>;
inline Result<DistributedSettings> read_distributed_settings(const Settings& settings) {
  return settings.read<Scope::ranks>(kDistributedSettings);
}

}  // namespace streamer::core::inline distributed
