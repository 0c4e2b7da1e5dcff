// SPDX-License-Identifier: Apache-2.0
#include "gpu/gpu_kinds.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"

namespace streamer::core::inline gpu {

namespace {

std::string known_kinds() {
  std::string names;
  for (const GpuKind& kind : gpu_kinds())
    names += fmt::format("{}{}:NUMBER", names.empty() ? "" : ", ", kind.name);
  return names;
}

}  // namespace

const GpuKind* find_gpu_kind(std::int32_t number) noexcept {
  const auto kinds = gpu_kinds();
  const auto found = std::find_if(kinds.begin(), kinds.end(),
                                  [&](const GpuKind& kind) { return kind.number == number; });
  return found == kinds.end() ? nullptr : &*found;
}

Result<GpuRuntime*> runtime_of(Device device, GpuRuntime* instead) {
  const GpuKind* const kind = find_gpu_kind(device.kind);
  if (kind == nullptr)
    return Error(ErrorKind::invalid_argument,
                 fmt::format("no such kind of device: {}; this library supports {}", device.kind,
                             known_kinds()));
  GpuRuntime* const runtime = instead != nullptr ? instead : TRY(kind->runtime());
  const int count = TRY(runtime->device_count());
  if (device.number >= 0 && device.number < count) return runtime;
  return Error(
      ErrorKind::invalid_argument,
      fmt::format("no such device: {}; this machine shows {} ({}:0{}); {} may hide some",
                  device_name(device), count == 1 ? "one device" : fmt::format("{} devices", count),
                  kind->name, count == 1 ? "" : fmt::format(" to {}:{}", kind->name, count - 1),
                  kind->hidden_by));
}

std::string device_name(Device device) {
  if (device.is_host()) return "host memory";
  const GpuKind* const kind = find_gpu_kind(device.kind);
  return fmt::format("{}:{}", kind == nullptr ? fmt::format("kind {}", device.kind) : kind->name,
                     device.number);
}

Result<Device> parse_device(std::string_view text) {
  if (text == "host" || text == "cpu" || text == "cpu:0") return kHost;
  const std::size_t colon = text.find(':');
  for (const GpuKind& kind : gpu_kinds()) {
    if (text.substr(0, colon) != kind.name) continue;
    if (colon == std::string_view::npos) return Device{kind.number, 0};
    const auto number = parse_unsigned(text.substr(colon + 1));
    constexpr std::uint64_t kMostDevices = 1 << 16;
    if (number && *number < kMostDevices)
      return Device{kind.number, static_cast<std::int32_t>(*number)};
  }
  return Error(
      ErrorKind::invalid_argument,
      fmt::format("no such device: \"{}\"; it may be host (or cpu), or {}", text, known_kinds()));
}

}  // namespace streamer::core::inline gpu
