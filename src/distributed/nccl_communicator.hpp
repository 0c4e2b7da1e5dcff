// SPDX-License-Identifier: Apache-2.0
#pragma once
// Ranks with one GPU each, whose bytes go from device to device through NCCL. NCCL is loaded at run
// time: the same build runs with and without it.

#include <memory>
#include <string>

#include "distributed/communicator.hpp"
#include "gpu/gpu_runtime.hpp"

namespace streamer::core::inline distributed {

// Collective over base, which must outlive it. library: a path, or empty for libnccl.so.2. Errors:
// unsupported if it is not available, device, and those of base.
Result<std::unique_ptr<Communicator>> open_nccl(Communicator& base, GpuRuntime& runtime, int device,
                                                const std::string& library,
                                                std::chrono::milliseconds timeout);

}  // namespace streamer::core::inline distributed
