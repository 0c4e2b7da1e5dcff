// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which files of a folder are one whole model. Pure: what a listing says in, a decision out. Half a
// model, or two of them, is an error that says what to do.

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "checkpoint/shard_index.hpp"
#include "storage/store.hpp"

namespace streamer::core {

// What stands directly in a folder, by name, sorted; without what is hidden.
struct FolderContent {
  std::vector<std::string> files;
  std::vector<std::string> folders;
  std::vector<BrokenEntry> broken;
};

struct ModelFiles {
  // To be read, and passed to files_of_index(); empty: there is none.
  std::string index;
  // Without an index: the model. Both empty: the folder holds no model.
  std::vector<std::string> files;
  // What was left out, and why: a line each.
  std::vector<std::string> notes;
};

// Of a folder: its index; else all of its safetensors files, but for what is known to be another
// form of the same model or no part of it.
//  - model.safetensors.index.json comes before indexes of variants
//    (model.safetensors.index.fp16.json); of several others none is chosen.
//  - "*-00001-of-00003.safetensors" are all there, for every prefix.
//  - consolidated* is not loaded beside model*, adapter_model*, optimizer* and training_* not
//  beside
//    anything else, a variant (model.fp16.safetensors) not beside the file that it is one of.
//  - a link that leads nowhere, or a download that has not ended, is no file that may be missing.
// Fails with corrupt ("MissingPart"), not_found (a broken link) or invalid_argument (a choice that
// is the caller's).
Result<ModelFiles> choose_model_files(const FolderContent& folder);

// What the folder's index names: `files` are its shards, those below the folder's folders too.
// Fails with not_found if one that should stand directly in the folder does not.
Result<ModelFiles> files_of_index(const FolderContent& folder, const std::string& index,
                                  const ShardIndex& content);

// model.safetensors.index.json, model.fp16.safetensors.index.json, x.safetensors.index.bf16.json.
[[nodiscard]] bool is_shard_index(std::string_view name);

// models--org--name: what a hub's client keeps of all versions of a model.
[[nodiscard]] bool is_hub_cache(const FolderContent& folder);

// Why a folder in which choose_model_files() finds nothing is no model, and what to name instead.
// holders: those of its folders that hold safetensors files.
[[nodiscard]] std::string explain_no_model(const FolderContent& folder,
                                           const std::vector<std::string>& holders);

// "it is a link to X, which is not there".
[[nodiscard]] std::string explain_broken(const BrokenEntry& entry);

// "a, b, c and 4 more", each quoted.
[[nodiscard]] std::string names_of(const std::vector<std::string>& names);

}  // namespace streamer::core
