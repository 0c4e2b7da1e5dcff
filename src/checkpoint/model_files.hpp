// SPDX-License-Identifier: Apache-2.0
#pragma once
// Decides which files of a folder are one whole model. Pure: a listing in, a decision out. An
// incomplete model, or two of them, is an error that says what to do.

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "checkpoint/shard_index.hpp"
#include "storage/store.hpp"

namespace streamer::core::inline checkpoint {

// The names directly in a folder, sorted, without hidden ones.
struct FolderContent {
  std::vector<std::string> files;
  std::vector<std::string> folders;
  std::vector<BrokenEntry> broken;
};

struct ModelFiles {
  // To be read and passed to files_of_index(); empty: the folder has none.
  std::string index;
  // Without an index: the model. Both empty: the folder holds no model.
  std::vector<std::string> files;
  // Which files were left out, and why: one line each.
  std::vector<std::string> notes;
};

// The folder's index or, without one, all of its safetensors files, except those known to be
// another form of the same model or not part of it.
//  - model.safetensors.index.json comes before indexes of variants
//    (model.safetensors.index.fp16.json); of several others none is chosen.
//  - "*-00001-of-00003.safetensors" must be complete, for every prefix.
//  - consolidated* is not loaded beside model*; adapter_model*, optimizer* and training_* are not
//    loaded beside anything else; a variant (model.fp16.safetensors) is not loaded beside the file
//    itself.
//  - a dangling link or an unfinished download counts as a missing file.
// Fails with corrupt ("MissingPart"), not_found (a broken link) or invalid_argument (an ambiguous
// folder).
Result<ModelFiles> choose_model_files(const FolderContent& folder);

// The files that the folder's index names: `files` are its shards, including those in subfolders.
// Fails with not_found if one that should be directly in the folder is missing.
Result<ModelFiles> files_of_index(const FolderContent& folder, const std::string& index,
                                  const ShardIndex& content);

// model.safetensors.index.json, model.fp16.safetensors.index.json, x.safetensors.index.bf16.json.
[[nodiscard]] bool is_shard_index(std::string_view name);

// models--org--name: where a hub's client keeps all versions of a model.
[[nodiscard]] bool is_hub_cache(const FolderContent& folder);

// Why a folder in which choose_model_files() finds nothing is not a model, and what to name
// instead. holders: its subfolders that contain safetensors files.
[[nodiscard]] std::string explain_no_model(const FolderContent& folder,
                                           const std::vector<std::string>& holders);

// "it is a link to X, which does not exist".
[[nodiscard]] std::string explain_broken(const BrokenEntry& entry);

// "a, b, c and 4 more", each quoted.
[[nodiscard]] std::string names_of(const std::vector<std::string>& names);

}  // namespace streamer::core::inline checkpoint
