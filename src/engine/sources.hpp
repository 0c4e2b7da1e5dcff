// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which source brings the bytes of which store.

#include <memory>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "checkpoint/checkpoint.hpp"
#include "engine/load_settings.hpp"
#include "engine/source_parts.hpp"

namespace streamer::core {

// The checkpoint's, which it must outlive.
Result<std::vector<SourceObject>> source_objects(const Checkpoint& checkpoint);

// What the sources of these objects need memory for.
[[nodiscard]] ReadingFrom reading_from(std::span<const SourceObject> objects);

// How many bytes that nobody wants a load of the checkpoint reads rather than ask once more.
Result<std::uint64_t> coalesce_gap_bytes(const Checkpoint& checkpoint,
                                         const LoadSettings& settings);

// One for each kind of store that the plan's chunks are in. parts.chunks and parts.threads are
// filled in for each.
Result<std::vector<std::unique_ptr<Source>>> make_sources(SourceParts parts);

}  // namespace streamer::core
