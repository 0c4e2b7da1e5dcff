// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a source is made of.

#include <cstdint>
#include <span>
#include <vector>

#include "engine/load_settings.hpp"
#include "engine/load_sizes.hpp"
#include "engine/source.hpp"
#include "engine/source_object.hpp"
#include "engine/staging.hpp"
#include "gpu/cu_file.hpp"

namespace streamer::core {

// What is referred to outlives the source.
struct SourceParts {
  Landing& landing;
  Staging* staging;                       // nullptr: nothing goes to a device
  std::span<const SourceObject> objects;  // by number in the plan
  std::vector<std::uint32_t> chunks;      // of the plan, that it brings; they never fall
  const LoadSettings& settings;
  const LoadSizes& sizes;
  std::uint32_t threads;  // at most, of one that has buffers for each of its threads
  const CuFile* cu_file;  // nullptr, or what reads files past the host
};

}  // namespace streamer::core
