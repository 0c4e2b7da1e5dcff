// SPDX-License-Identifier: Apache-2.0
#include "support/stand_in_path.hpp"

namespace streamer::test {

const char* stand_in_cuda_path() {
  return STREAMER_STAND_IN_CUDA;
}

}  // namespace streamer::test
