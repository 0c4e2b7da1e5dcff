// SPDX-License-Identifier: Apache-2.0
#include "gpu/device_thread.hpp"

#include <fmt/format.h>

#include "base/fits_in_memory.hpp"
#include "base/thread.hpp"

namespace streamer::core::inline gpu {

Result<void> try_on_device(GpuRuntime& runtime, int device, const std::function<void()>& body) {
  Result<void> outcome;
  {
    // Joined when it goes out of scope.
    const auto thread = TRY(Thread::start(fmt::format("streamer-gpu{}", device), [&] {
      outcome = runtime.use_device(device);
      if (outcome) body();
    }));
  }
  return outcome;
}

void run_on_device(GpuRuntime& runtime, int device, const std::function<void()>& body) noexcept {
  static_cast<void>(
      fits_in_memory([&] { static_cast<void>(try_on_device(runtime, device, body).has_value()); }));
}

}  // namespace streamer::core::inline gpu
