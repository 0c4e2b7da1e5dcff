// SPDX-License-Identifier: Apache-2.0
#pragma once
// Objects of a format with tensors, opened and checked, as one set of tensors.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "checkpoint/format.hpp"
#include "checkpoint/tensor_table.hpp"
#include "storage/store.hpp"

namespace streamer::core::inline checkpoint {

struct CheckpointObject {
  Object object;
  std::uint64_t header_bytes = 0;  // as shown to programs
  std::uint64_t head_bytes = 0;    // everything before the tensors' bytes
  std::uint32_t tensor_count = 0;
  // __metadata__, in the order of the file.
  std::vector<std::pair<std::string, std::string>> metadata;
};

// Immutable once opened. Shared by the handle, its plans, its loads and their tensors, which
// outlive each other in any order.
struct Checkpoint {
  std::shared_ptr<Stores> stores;  // that the objects are in
  std::vector<CheckpointObject> objects;
  TensorTable tensors;
  // Which files of a folder were left out when it was opened, and why: one line each, for humans.
  std::vector<std::string> notes;
};

// Whether several objects may have a tensor of the same name.
enum class SameNames { refuse, keep };

struct OpenRules {
  SameNames same_names = SameNames::refuse;
  HeaderRules header = HeaderRules::strict;
  std::span<const Format> formats = core::formats();
};

// Each of uris is a safetensors file, a folder or a shard index (see model_sources.hpp). Reads only
// headers, those of many objects at once.
Result<std::shared_ptr<const Checkpoint>> open_checkpoint(std::span<const std::string> uris,
                                                          std::shared_ptr<Stores> stores,
                                                          OpenRules rules = {});

}  // namespace streamer::core::inline checkpoint
