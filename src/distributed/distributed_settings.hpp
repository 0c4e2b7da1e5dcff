// SPDX-License-Identifier: Apache-2.0
#pragma once
// Settings of loads that ranks share.

#include "base/bytes.hpp"
#include "base/settings.hpp"
#include "distributed/schedule.hpp"

namespace streamer::core {

// Who shares a load: the ranks of each machine, or all of them.
enum class RankScope { node, all };

namespace setting {

inline constexpr Setting kDistributedBufferBytes{
    RowOf<Scope::ranks>{
        .name = "debug.distributed_buffer_bytes",
        .also = "RUNAI_STREAMER_DIST_BUFFER_MIN_BYTESIZE",
        .default_text = "128MiB",
        .meaning = "Of a load that ranks share: how much a rank receives in one round at most. "
                   "It takes that much memory up to three times: for what it reads ahead, sends "
                   "and receives. Less than 1MiB is raised to that, more than 16GiB lowered."},
    Bytes("", {.lowest = kMiB, .highest = 16 * kGiB, .are_soft = true})};

inline constexpr Setting kDistributedMpi{
    RowOf<Scope::ranks>{
        .name = "distributed_mpi",
        .meaning = "Where libstreamer_mpi.so is. auto is beside the library or the command, "
                   "else where the system looks."},
    Text("a path")};

inline constexpr Setting kDistributedNccl{
    RowOf<Scope::ranks>{
        .name = "distributed_nccl",
        .meaning = "Which NCCL to use. auto is libnccl.so.2, the one that the process has if it "
                   "has one."},
    Text("a path")};

inline constexpr Setting kDistributedPartition{
    RowOf<Scope::ranks>{.name = "debug.distributed_partition",
                        .also = "RUNAI_STREAMER_PARTITION_POLICY",
                        .default_text = "chunks",
                        .meaning = "Who reads what: pieces of every file, evenly, or whole files."},
    Choice<PartitionPolicy, 2>(
        {{"chunks", PartitionPolicy::chunks}, {"files", PartitionPolicy::files}})};

inline constexpr Setting kDistributedScope{
    RowOf<Scope::ranks>{
        .name = "distributed_scope",
        .also = "RUNAI_STREAMER_DIST_GLOBAL",
        .default_text = "node",
        .meaning = "Who shares a load: the ranks of each machine, or all of them. For those who "
                   "make the communicator: the command and the Python packages."},
    Choice<RankScope, 2>({{"node", RankScope::node, "0"}, {"all", RankScope::all, "1"}})};

inline constexpr Setting kDistributedTimeoutS{
    RowOf<Scope::ranks>{
        .name = "distributed_timeout_s",
        .also = "RUNAI_STREAMER_DIST_TIMEOUT",
        .default_text = "600",
        .meaning = "How long a rank waits for the others, each time that it needs them, before "
                   "the load fails."},
    Duration::seconds_to(86'400)};

}  // namespace setting

inline constexpr const SettingRow* kDistributedSettings[] = {
    &setting::kDistributedBufferBytes, &setting::kDistributedMpi,   &setting::kDistributedNccl,
    &setting::kDistributedPartition,   &setting::kDistributedScope, &setting::kDistributedTimeoutS};

using DistributedSettings = SettingValues<Scope::ranks>;
inline Result<DistributedSettings> read_distributed_settings(const Settings& settings) {
  return settings.read<Scope::ranks>(kDistributedSettings);
}

}  // namespace streamer::core
