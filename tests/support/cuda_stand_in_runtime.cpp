// SPDX-License-Identifier: Apache-2.0
// In the place of gpu_vendors.cpp, for programs of the tests: two kinds of GPU, with two devices
// each. The second is what another vendor's would be, with DLPack's number of ROCm.
#include "gpu/gpu_kinds.hpp"
#include "support/cuda_stand_in.hpp"

namespace streamer::core::inline gpu {

namespace {

Result<GpuRuntime*> first() {
  static auto* const runtime = new test::CudaStandIn({.devices = 2});
  return static_cast<GpuRuntime*>(runtime);
}

Result<GpuRuntime*> second() {
  static auto* const runtime = new test::CudaStandIn({.devices = 2, .kind = "rocm"});
  return static_cast<GpuRuntime*>(runtime);
}

}  // namespace

std::span<const GpuKind> gpu_kinds() noexcept {
  static constexpr GpuKind kKinds[] = {{kCudaKind, "cuda", "CUDA_VISIBLE_DEVICES", first},
                                       {10, "rocm", "ROCR_VISIBLE_DEVICES", second}};
  return kKinds;
}

}  // namespace streamer::core::inline gpu
