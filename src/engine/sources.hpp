// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which source reads the bytes of which store.

#include <memory>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "checkpoint/checkpoint.hpp"
#include "engine/load_settings.hpp"
#include "engine/source_parts.hpp"

namespace streamer::core::inline engine {

// The objects of the checkpoint, which must outlive the result.
Result<std::vector<SourceObject>> source_objects(const Checkpoint& checkpoint);

// What the sources of these objects need memory for.
[[nodiscard]] ReadingFrom reading_from(std::span<const SourceObject> objects);

// How many unwanted bytes a load of the checkpoint reads rather than make another request.
Result<std::uint64_t> coalesce_gap_bytes(const Checkpoint& checkpoint,
                                         const LoadSettings& settings);

// One source for each kind of store that has chunks of the plan. parts.chunks and parts.threads are
// filled in for each.
Result<std::vector<std::unique_ptr<Source>>> make_sources(SourceParts parts);

}  // namespace streamer::core::inline engine
