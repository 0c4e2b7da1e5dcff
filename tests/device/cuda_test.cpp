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

TEST_CASE("segments reach a real device, and the caller's device stays as it was", "[cuda]") {
  const auto runtime = cuda_runtime();
  if (!runtime) return;  // the test before says why
  constexpr std::uint64_t kSegmentBytes = 1 << 20;
  constexpr std::uint64_t kSegments = 8;
  const int last = *(*runtime)->device_count() - 1;
  const int before = *(*runtime)->current_device();
  const auto segments = PinnedSegments::make(**runtime, kSegments, kSegmentBytes);
  REQUIRE(segments);
  CHECK((*segments)->note().empty());
  void* memory = nullptr;
  {
    const auto use = UseDevice::make(**runtime, last);
    REQUIRE(use);
    memory = *(*runtime)->allocate(64 * kSegmentBytes);
  }
  std::atomic<std::uint64_t> copied{0};
  {
    auto copier = DeviceCopier::make(
        **runtime, last, 2, **segments, [&](std::uint64_t) { ++copied; },
        [](Error error) { FAIL(error.line()); });
    if (!copier) FAIL(copier.error().line());
    for (std::uint64_t i = 0; i < 64;) {
      const auto segment = (*segments)->try_take();
      if (!segment) continue;
      std::memset((*segments)->data(*segment), static_cast<int>(i), kSegmentBytes);
      (*copier)->submit(
          *segment, {{static_cast<std::byte*>(memory) + i * kSegmentBytes, 0, kSegmentBytes}}, i);
      ++i;
    }
    while (copied != 64)
      std::this_thread::yield();
  }
  CHECK(*(*runtime)->current_device() == before);
  const auto use = UseDevice::make(**runtime, last);
  CHECK((*runtime)->free(memory));
}
