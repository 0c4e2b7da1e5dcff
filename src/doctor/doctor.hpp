// SPDX-License-Identifier: Apache-2.0
#pragma once
// Finds out why a URI does not load: tries everything on the way to its bytes, step by step.

#include <memory>

#include "base/result.hpp"
#include "checkpoint/checkpoint.hpp"
#include "doctor/doctor_steps.hpp"
#include "storage/store.hpp"

namespace streamer::core::inline doctor {

// Calls report for each step, in order, on the calling thread. The first failure ends it, unless
// later steps do not depend on the failed one, and is returned. The last step opens the model, if
// the URI is one: it then reads the headers of all its files.
Result<void> diagnose(const std::shared_ptr<Stores>& stores, const Uri& uri, const OpenRules& rules,
                      const DoctorReport& report);

}  // namespace streamer::core::inline doctor
