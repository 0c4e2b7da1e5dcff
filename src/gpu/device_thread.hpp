// SPDX-License-Identifier: Apache-2.0
#pragma once
// Runs device calls that are due on a thread of the caller on one of the library's threads instead.
// Switching the caller's current device and back would create a context on the previous device,
// which the process may not want.

#include <functional>

#include "gpu/gpu_runtime.hpp"

namespace streamer::core::inline gpu {

// Runs body on a thread whose current device is `device`, and waits for it. Errors: those of
// use_device(), out_of_memory if no thread can be started; body did not run then.
Result<void> try_on_device(GpuRuntime& runtime, int device, const std::function<void()>& body);

// Runs body on a thread whose current device is `device`, and waits for it. Does not run it if the
// device cannot be used or no thread can be started: what body would release then stays allocated
// until the process ends.
void run_on_device(GpuRuntime& runtime, int device, const std::function<void()>& body) noexcept;

}  // namespace streamer::core::inline gpu
