// SPDX-License-Identifier: Apache-2.0
#pragma once
// What is done with a device where a thread of the caller is: on a thread of ours. To make another
// device the current one, and the one before again, would give that one a context, which the
// process may never have wanted there.

#include <functional>

#include "gpu/gpu_runtime.hpp"

namespace streamer::core {

// Runs body on a thread whose current device is the device, and waits for it. Not at all if the
// device cannot be used or no thread is to be had: what body would give back is then lost until the
// process ends.
void run_on_device(GpuRuntime& runtime, int device, const std::function<void()>& body) noexcept;

}  // namespace streamer::core
