// SPDX-License-Identifier: Apache-2.0
// In the place of the CUDA runtime: a stand-in with two devices, for programs of the tests.
#include "support/cuda_stand_in.hpp"

namespace streamer::core {

Result<CudaRuntime*> cuda_runtime() {
  static auto* const runtime = new test::CudaStandIn({.devices = 2});
  return static_cast<CudaRuntime*>(runtime);
}

}  // namespace streamer::core
