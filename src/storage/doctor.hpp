// SPDX-License-Identifier: Apache-2.0
#pragma once
// Why does this URI not load? Tries everything on the way to its bytes, one step after the other.

#include "base/result.hpp"
#include "storage/doctor_steps.hpp"
#include "storage/store.hpp"

namespace streamer::core {

// Calls report for each step, in order, on the calling thread. The first failure ends it, unless
// later steps do not need what failed; it is what is returned.
Result<void> diagnose(Stores& stores, const Uri& uri, const DoctorReport& report);

}  // namespace streamer::core
