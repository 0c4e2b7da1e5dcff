// SPDX-License-Identifier: Apache-2.0
#pragma once
// A rank's own units, read by an ordinary load.

#include <cstdint>
#include <memory>

#include "checkpoint/checkpoint.hpp"
#include "distributed/own_units.hpp"
#include "distributed/schedule.hpp"
#include "engine/load.hpp"

namespace streamer::core::inline distributed {

// Starts reading them into memory of the device, two rounds ahead or more. options and settings: of
// the load that they are for.
Result<std::unique_ptr<OwnUnits>> load_own_units(const Checkpoint& checkpoint,
                                                 const Schedule& schedule, std::uint32_t rank,
                                                 Device device, const LoadOptions& options,
                                                 const LoadSettings& settings,
                                                 std::uint64_t buffer_bytes);

}  // namespace streamer::core::inline distributed
