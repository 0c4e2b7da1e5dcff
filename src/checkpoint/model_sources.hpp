// SPDX-License-Identifier: Apache-2.0
#pragma once
// From URIs to the objects of a model: reads the listings, indexes and links that model_files.hpp
// decides about. Every entry point for models uses this.

#include <span>
#include <string>
#include <vector>

#include "checkpoint/shard_index.hpp"
#include "storage/store.hpp"

namespace streamer::core::inline checkpoint {

// What an index said of the shards below it.
struct IndexClaims {
  Uri index;
  ShardIndex content;
};

struct ModelSources {
  // In the order of the URIs, then of their names. Size and ETag are known for objects from a
  // listing.
  std::vector<Entry> objects;
  std::vector<IndexClaims> claims;
  // What was left out, and why: a line each, for people. Logged as warnings.
  std::vector<std::string> notes;
  // Of one folder: where its objects stand, which is below it if it is a hub's cache.
  Uri folder;
};

// Each of uris is a safetensors file, a folder, or a shard index. Files are used as named;
// model_files.hpp chooses from folders. Fails with not_found for a folder without a model.
Result<ModelSources> find_model(Stores& stores, std::span<const std::string> uris);

// The same for one URI, for callers that do not check again: every object was seen, in its folder's
// listing or by itself. A folder without a model is not an error; the notes say why.
Result<ModelSources> list_model(Stores& stores, const std::string& uri);

// Turns the error for a missing shard that an index names into one that names the index.
[[nodiscard]] Error explain_missing(Error error, const ModelSources& sources);

}  // namespace streamer::core::inline checkpoint
