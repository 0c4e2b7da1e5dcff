// SPDX-License-Identifier: Apache-2.0
#include "gpu/device_thread.hpp"

#include <fmt/format.h>

#include "base/fits_in_memory.hpp"
#include "base/thread.hpp"

namespace streamer::core::inline gpu {

void run_on_device(GpuRuntime& runtime, int device, const std::function<void()>& body) noexcept {
  static_cast<void>(fits_in_memory([&] {
    // Joined when it goes out of scope.
    const auto thread = Thread::start(fmt::format("streamer-gpu{}", device), [&] {
      if (runtime.use_device(device)) body();
    });
  }));
}

}  // namespace streamer::core::inline gpu
