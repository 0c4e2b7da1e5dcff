// SPDX-License-Identifier: Apache-2.0
#pragma once
// What ranks tell each other beside bytes: how they are, and what they want.

#include <chrono>
#include <optional>
#include <vector>

#include "distributed/communicator.hpp"
#include "distributed/needs.hpp"
#include "distributed/schedule.hpp"

namespace streamer::core {

// Collective. Every rank says that it is well (mine is nullptr) or what went wrong there. All get
// the same answer: nothing, or the error of the lowest rank that has one, with that rank's number
// in front of its message; who has one of its own gets that.
Result<void> agree(Communicator& communicator, const Error* mine,
                   std::chrono::milliseconds timeout);

// Collective. What every rank needs; one list alone if all need the same. mine: this rank's. Fails,
// on all ranks alike, if they do not have the same checkpoint or not the same options.
Result<std::vector<std::vector<Need>>> gather_needs(Communicator& communicator,
                                                    const Checkpoint& checkpoint,
                                                    const std::vector<Need>& mine,
                                                    const ScheduleOptions& options,
                                                    std::chrono::milliseconds timeout);

}  // namespace streamer::core
