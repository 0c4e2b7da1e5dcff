// SPDX-License-Identifier: Apache-2.0
#pragma once
// The parts that a source is made from.

#include <cstdint>
#include <span>
#include <vector>

#include "engine/load_settings.hpp"
#include "engine/load_sizes.hpp"
#include "engine/source.hpp"
#include "engine/source_object.hpp"
#include "engine/staging.hpp"
#include "gpu/cu_file.hpp"
#include "http/idle_loops.hpp"

namespace streamer::core::inline engine {

// The references outlive the source.
struct SourceParts {
  Landing& landing;
  Staging* staging;                       // nullptr: nothing goes to a device
  std::span<const SourceObject> objects;  // by number in the plan
  std::vector<std::uint32_t> chunks;      // of the plan, for this source; ascending
  const LoadSettings& settings;
  const LoadSizes& sizes;
  std::uint32_t threads;  // at most, for a source with buffers for each thread
  const CuFile* cu_file;  // nullptr without GPUDirect Storage
  IdleLoops* loops;       // with connections, from load to load; nullptr: none are kept
};

}  // namespace streamer::core::inline engine
