// SPDX-License-Identifier: Apache-2.0
#pragma once
// Sharded state: a checkpoint in which each rank has its own files, in parts.

#include <cstdint>
#include <string>
#include <vector>

#include "storage/store.hpp"

namespace streamer::core::inline checkpoint {

// The URIs of a rank's parts under folder, from part 0 on, without a gap. pattern is a file's name
// with {rank} and {part}, such as vLLM writes: "model-rank-{rank}-part-{part}.safetensors". Fails
// with invalid_argument for a pattern that lacks one of them, not_found if the rank has no part,
// and corrupt if one is missing between others.
Result<std::vector<std::string>> find_rank_parts(Stores& stores, const std::string& folder,
                                                 const std::string& pattern, std::uint32_t rank);

}  // namespace streamer::core::inline checkpoint
