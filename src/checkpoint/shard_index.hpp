// SPDX-License-Identifier: Apache-2.0
#pragma once
// model.safetensors.index.json: which tensor is in which shard.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"

namespace streamer::core::inline checkpoint {

inline constexpr std::string_view kShardIndexName = "model.safetensors.index.json";

struct ShardIndex {
  // Each shard once, sorted.
  std::vector<std::string> shards;
  // Tensor and shard, in the order of the file.
  std::vector<std::pair<std::string, std::string>> weights;
};

// Fails with corrupt: no object, no weight_map, a shard name that is not a relative path below the
// index (absolute, or with "." or ".." or an empty component).
Result<ShardIndex> parse_shard_index(const JsonText& text);

}  // namespace streamer::core::inline checkpoint
