// SPDX-License-Identifier: Apache-2.0
#pragma once
// From URIs to the objects of a model: the listings, indexes and links that model_files.hpp decides
// about. Every door to a model goes through here.

#include <span>
#include <string>
#include <vector>

#include "checkpoint/shard_index.hpp"
#include "storage/store.hpp"

namespace streamer::core {

// What an index said of the shards below it.
struct IndexClaims {
  Uri index;
  ShardIndex content;
};

struct ModelSources {
  // In the order of the URIs, and of their names. Size and ETag are known of what a listing said.
  std::vector<Entry> objects;
  std::vector<IndexClaims> claims;
  // What was left out, and why: a line each, for people. Logged as warnings.
  std::vector<std::string> notes;
  // Of one folder: where its objects stand, which is below it if it is a hub's cache.
  Uri folder;
};

// Each of uris is a safetensors file, a folder, or a shard index. Files that the caller names are
// taken as they are; of what folders hold model_files.hpp decides. Fails with not_found for a
// folder without a model.
Result<ModelSources> find_model(Stores& stores, std::span<const std::string> uris);

// The same of one URI, to be handed to somebody who will not look again: every object was seen, in
// its folder's listing or by itself. A folder without a model is no error; the notes say why.
Result<ModelSources> list_model(Stores& stores, const std::string& uri);

// A shard that an index names and that is not there is the index's fault: says so.
[[nodiscard]] Error explain_missing(Error error, const ModelSources& sources);

}  // namespace streamer::core
