// SPDX-License-Identifier: Apache-2.0
#pragma once
// The way to a store behind HTTP, step by step: endpoint, proxy, addresses, connection,
// credentials.

#include "base/result.hpp"
#include "doctor/doctor_steps.hpp"
#include "storage/remote_store.hpp"

namespace streamer::core::inline doctor {

Result<void> diagnose_way(RemoteStore& store, const Uri& uri, const DoctorReport& report);

}  // namespace streamer::core::inline doctor
