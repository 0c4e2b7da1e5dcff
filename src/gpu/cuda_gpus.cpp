// SPDX-License-Identifier: Apache-2.0
// NVIDIA's GPUs through their driver, which is looked for when the first one is used.
#include <memory>

#include "base/guarded.hpp"
#include "gpu/cuda_driver_runtime.hpp"
#include "gpu/gpu_kinds.hpp"

namespace streamer::core::inline gpu {

namespace {

Result<GpuRuntime*> cuda_runtime() {
  // Never destroyed: at the end of the process the driver may already be gone. What failed is
  // tried anew: the driver's own reasons may pass.
  static auto* const made = new Guarded<std::unique_ptr<CudaDriverRuntime>>;
  return made->with([](std::unique_ptr<CudaDriverRuntime>& runtime) -> Result<GpuRuntime*> {
    if (!runtime) {
      const CudaDriver driver = TRY(load_cuda_driver("libcuda.so.1"));
      const int devices = TRY(CudaDriverRuntime::count_devices(driver));
      runtime = std::make_unique<CudaDriverRuntime>(driver, devices);
    }
    return runtime.get();
  });
}

}  // namespace

GpuKind cuda_gpus() noexcept;

GpuKind cuda_gpus() noexcept {
  return {kCudaKind, "cuda", "CUDA_VISIBLE_DEVICES", cuda_runtime};
}

}  // namespace streamer::core::inline gpu
