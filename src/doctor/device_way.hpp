// SPDX-License-Identifier: Apache-2.0
#pragma once
// The way to a device's memory, step by step: driver, device, context, pinned memory, bytes, rate,
// NUMA.

#include "base/result.hpp"
#include "doctor/doctor_steps.hpp"
#include "memory/device.hpp"

namespace streamer::core::inline doctor {

// As diagnose(). Takes about a second, and 64 MiB of the host's and of the device's memory.
Result<void> diagnose_device(Device device, const DoctorReport& report);

}  // namespace streamer::core::inline doctor
