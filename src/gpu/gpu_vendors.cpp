// SPDX-License-Identifier: Apache-2.0
// The table of kinds, from what gpu/meson.build names.
#include "gpu/gpu_kinds.hpp"

namespace streamer::core::inline gpu {

#define GPU_VENDOR(name) GpuKind name##_gpus() noexcept;
STREAMER_GPU_VENDORS
#undef GPU_VENDOR

std::span<const GpuKind> gpu_kinds() noexcept {
#define GPU_VENDOR(name) name##_gpus(),
  static const GpuKind kKinds[] = {STREAMER_GPU_VENDORS};
#undef GPU_VENDOR
  return kKinds;
}

}  // namespace streamer::core::inline gpu
