// SPDX-License-Identifier: Apache-2.0
// Instead of the CUDA runtime, where the library was built without it.
#include "device/cuda_runtime.hpp"

namespace streamer::core {

Result<CudaRuntime*> cuda_runtime() {
  return Error(ErrorKind::device,
               "this libstreamer was built without CUDA; build it where the CUDA toolkit is, with "
               "-Dcuda=enabled");
}

}  // namespace streamer::core
