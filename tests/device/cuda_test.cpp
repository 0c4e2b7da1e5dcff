// SPDX-License-Identifier: Apache-2.0
// The CUDA runtime itself: what is said where it is not to be had, and copies where it is.
#include "device/cuda_runtime.hpp"

#include <cstring>
#include <thread>
#include <vector>

#include "device/device_copier.hpp"
#include "support/catch.hpp"

using namespace streamer::core;

TEST_CASE("a machine without a device is told what it lacks", "[cuda]") {
  const auto runtime = cuda_runtime();
  if (runtime) return;  // it has one
  CHECK(runtime.error().kind() == ErrorKind::device);
  INFO(runtime.error().message());
  bool is_clear = false;
  for (const char* const reason :
       {"built without CUDA", "no NVIDIA driver", "too old", "no GPU", "does not start"})
    is_clear = is_clear || runtime.error().message().find(reason) != std::string::npos;
  CHECK(is_clear);
}

