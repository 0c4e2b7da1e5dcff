// SPDX-License-Identifier: Apache-2.0
// Replaces the CUDA runtime if the library was built without it.
#include "gpu/gpu_kinds.hpp"

namespace streamer::core::inline gpu {

GpuKind cuda_gpus() noexcept;

GpuKind cuda_gpus() noexcept {
  return {kCudaKind, "cuda", "CUDA_VISIBLE_DEVICES", []() -> Result<GpuRuntime*> {
            return Error(ErrorKind::device,
                         "this libstreamer was built without CUDA; build it where the CUDA toolkit "
                         "is installed, with -Dcuda=enabled");
          }};
}

}  // namespace streamer::core::inline gpu
