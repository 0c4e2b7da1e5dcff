// SPDX-License-Identifier: Apache-2.0
#pragma once
// How fast a device receives bytes if nothing holds it back.

#include "gpu/gpu_runtime.hpp"

namespace streamer::core::inline gpu {

// Bytes per second from pinned memory, using the calls of a load. Blocks for half a second.
Result<double> measure_copy_rate(GpuRuntime& runtime, int device);

}  // namespace streamer::core::inline gpu
