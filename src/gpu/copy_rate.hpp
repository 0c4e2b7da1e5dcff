// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a device takes if nothing holds it up.

#include "gpu/gpu_runtime.hpp"

namespace streamer::core {

// Bytes per second from pinned memory, by the calls of a load. Blocks for half a second.
Result<double> measure_copy_rate(GpuRuntime& runtime, int device);

}  // namespace streamer::core
