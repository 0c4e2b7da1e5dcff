// SPDX-License-Identifier: Apache-2.0
#pragma once
// What ranks tell each other besides bytes: success or failure, and what they need.

#include <chrono>
#include <optional>
#include <vector>

#include "base/crypto.hpp"
#include "distributed/communicator.hpp"
#include "distributed/needs.hpp"
#include "distributed/schedule.hpp"

namespace streamer::core::inline distributed {

// Collective. Every rank reports success (mine is nullptr) or its error. All get the same answer:
// nothing, or the error of the lowest rank that has one, with that rank's number in front of its
// message; a rank with an error of its own gets that one.
Result<void> agree(Communicator& communicator, const Error* mine,
                   std::chrono::milliseconds timeout);

// Collective. What every rank needs; a single list if all need the same. mine: this rank's. Fails
// on all ranks if they do not have the same checkpoint and the same options. digest: of the
// checkpoint.
Result<std::vector<std::vector<Need>>> gather_needs(Communicator& communicator,
                                                    const Checkpoint& checkpoint,
                                                    const Sha256Digest& digest,
                                                    const std::vector<Need>& mine,
                                                    const ScheduleOptions& options,
                                                    std::chrono::milliseconds timeout);

}  // namespace streamer::core::inline distributed
