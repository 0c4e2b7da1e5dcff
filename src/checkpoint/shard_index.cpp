// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/shard_index.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace streamer::core::inline checkpoint {

namespace {

bool stays_below(std::string_view path) {
  while (true) {
    const std::size_t slash = path.find('/');
    const std::string_view component = path.substr(0, slash);
    if (component.empty() || component == "." || component == "..") return false;
    if (component.find('\0') != std::string_view::npos) return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

Error wrong(std::string what) {
  return Error(ErrorKind::corrupt, std::move(what));
}

Result<void> read_weight_map(ShardIndex& index, JsonValue& map) {
  return map.members([&](std::string_view tensor, JsonValue& value) -> Result<void> {
    const std::string_view shard = TRY(value.string());
    if (!stays_below(shard)) {
      return wrong(fmt::format(
          "weight_map puts tensor \"{}\" into \"{}\", which is not a path below the index", tensor,
          shard));
    }
    index.weights.emplace_back(tensor, shard);
    index.shards.emplace_back(shard);
    return {};
  });
}

}  // namespace

Result<ShardIndex> parse_shard_index(const JsonText& text) {
  ShardIndex index;
  bool has_map = false;
  auto read = read_json(text, [&](JsonValue& root) {
    return root.members([&](std::string_view key, JsonValue& value) -> Result<void> {
      if (key != "weight_map") return value.skip();
      if (has_map) return wrong("weight_map appears twice");
      has_map = true;
      return read_weight_map(index, value);
    });
  });
  TRY(std::move(read));
  if (!has_map) return wrong("there is no weight_map");
  std::sort(index.shards.begin(), index.shards.end());
  index.shards.erase(std::unique(index.shards.begin(), index.shards.end()), index.shards.end());
  return index;
}

}  // namespace streamer::core::inline checkpoint
