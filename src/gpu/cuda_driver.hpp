// SPDX-License-Identifier: Apache-2.0
#pragma once
// The NVIDIA driver, libcuda.so.1, loaded at run time: every build can use a GPU, and none needs
// the CUDA toolkit.

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "gpu/cuda_abi.hpp"

namespace streamer::core::inline gpu {

// The oldest driver that is used, as cuDriverGetVersion() tells it: CUDA 11.4, the driver 470. It
// has everything that is called here, memory pools (11.2) and cuGetProcAddress() (11.3) included,
// and is the last branch that NVIDIA kept for GPUs that no 12.x driver knows.
inline constexpr int kOldestCudaDriver = 11040;

// "12.4"
[[nodiscard]] std::string cuda_version_text(int version);

struct CudaDriver {
  cuda_abi::Calls calls;
  int version = 0;  // as above
};

// Loads a driver by its name or path, and starts it. It stays loaded, and makes no context. Errors:
// device, each with what is missing: no driver, too old a one, no GPU, a hidden one.
Result<CudaDriver> load_cuda_driver(const std::string& library);

// What a call's status means; out_of_memory or device. Errors of the driver say whether the process
// can go on using the device.
Result<void> check_cuda(const cuda_abi::Calls& calls, std::string_view call,
                        cuda_abi::Status status);

}  // namespace streamer::core::inline gpu
