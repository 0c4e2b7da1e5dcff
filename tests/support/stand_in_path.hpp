// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace streamer::test {

// Of the stand-in for libcuda.so.1 that this build made.
const char* stand_in_cuda_path();

}  // namespace streamer::test
