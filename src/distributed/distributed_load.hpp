// SPDX-License-Identifier: Apache-2.0
#pragma once
// A load of which every rank reads a share.

#include <memory>
#include <vector>

#include "distributed/communicator.hpp"
#include "distributed/distributed_settings.hpp"
#include "engine/load.hpp"

namespace streamer::core {

// Collective. Each rank names what it needs itself, of the same checkpoint; what is needed at all
// is read once between them. Items come in the order of the plan, which on all ranks that need the
// same is the same. communicator must outlive the load; alone in it, a rank loads by itself. Waits
// until all ranks came. Errors are those of Load::start() on any of the ranks, on all of them;
// unsupported for settings that need whole objects (verify).
Result<std::unique_ptr<Load>> start_distributed(Communicator& communicator,
                                                std::shared_ptr<const Checkpoint> checkpoint,
                                                std::vector<PlanRequest> requests,
                                                LoadOptions options, const LoadSettings& settings,
                                                const DistributedSettings& distributed);

}  // namespace streamer::core
