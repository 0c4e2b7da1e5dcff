// SPDX-License-Identifier: Apache-2.0
#pragma once
// A load of which every rank reads a share.

#include <memory>
#include <vector>

#include "distributed/communicator.hpp"
#include "distributed/distributed_settings.hpp"
#include "engine/load.hpp"

namespace streamer::core::inline distributed {

// Collective. Each rank names what it needs, from the same checkpoint; every needed byte is read
// once between them. Items come in the order of the plan, which is the same on all ranks that need
// the same. communicator must outlive the load; a rank that is alone in it loads by itself. Waits
// until all ranks have arrived. An error of Load::start() on one rank is returned on all;
// unsupported for settings that need whole objects (verify).
Result<std::unique_ptr<Load>> start_distributed(Communicator& communicator,
                                                std::shared_ptr<const Checkpoint> checkpoint,
                                                std::vector<PlanRequest> requests,
                                                LoadOptions options, const LoadSettings& settings,
                                                const DistributedSettings& distributed);

}  // namespace streamer::core::inline distributed
