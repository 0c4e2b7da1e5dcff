// SPDX-License-Identifier: Apache-2.0
#pragma once
// The kinds of GPU that this library was built for. Each is one file with its runtime, named in
// gpu/meson.build; nothing else knows how many there are.

#include <span>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "gpu/gpu_runtime.hpp"
#include "memory/device.hpp"

namespace streamer::core::inline gpu {

struct GpuKind {
  std::int32_t number;    // of Device::kind
  std::string_view name;  // "cuda", as in "cuda:0"
  // The environment variable that hides devices from the process. For messages.
  std::string_view hidden_by;
  // With static lifetime. Fails with device, and says what is missing: built without it, no driver,
  // an old one, no GPU. Makes no context.
  Result<GpuRuntime*> (*runtime)();
};

// In gpu_vendors.cpp; tests have their own table.
[[nodiscard]] std::span<const GpuKind> gpu_kinds() noexcept;
// nullptr: unknown kind.
[[nodiscard]] const GpuKind* find_gpu_kind(std::int32_t number) noexcept;

// The runtime of an existing GPU; `instead`, if not nullptr, replaces its kind's. Errors: device,
// as above; invalid_argument if the device does not exist.
Result<GpuRuntime*> runtime_of(Device device, GpuRuntime* instead = nullptr);

// "host memory", "cuda:1".
[[nodiscard]] std::string device_name(Device device);
// "host" or "cpu"; "cuda", "cuda:1". Errors: invalid_argument.
Result<Device> parse_device(std::string_view text);

}  // namespace streamer::core::inline gpu
