// SPDX-License-Identifier: Apache-2.0
#include "doctor/device_way.hpp"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/bytes.hpp"
#include "base/text.hpp"
#include "gpu/copy_rate.hpp"
#include "gpu/device_memory.hpp"
#include "gpu/device_thread.hpp"
#include "gpu/gpu_kinds.hpp"
#include "memory/arena.hpp"
#include "memory/numa.hpp"

namespace streamer::core::inline doctor {

namespace {

constexpr std::uint64_t kTriedBytes = 64 * kMiB;

double seconds_since(std::chrono::steady_clock::time_point began) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

std::string lock_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
    return "no limit";
  return format_bytes(limit.rlim_cur);
}

Result<std::string> devices_of(const GpuKind& kind, GpuRuntime& runtime) {
  const int count = TRY(runtime.device_count());
  std::string names;
  for (int number = 0; number < count; ++number) {
    const GpuFacts facts = TRY(runtime.facts(number));
    names += fmt::format("{}{}:{} {}", number == 0 ? "" : ", ", kind.name, number, facts.name);
  }
  const char* const visible = std::getenv(std::string(kind.hidden_by).c_str());
  return fmt::format("{}, {} {}: {}{}", TRY(runtime.version()), count,
                     count == 1 ? "device" : "devices", names,
                     visible == nullptr ? "" : fmt::format(" ({}={})", kind.hidden_by, visible));
}

// On a thread that has the device.
Result<std::string> pin_some(GpuRuntime& runtime, const Arena& memory) {
  // Existing pages, so that pinning alone is measured.
  std::memset(memory.data(), 0x5A, kTriedBytes);
  const auto began = std::chrono::steady_clock::now();
  auto pinned = runtime.pin(memory.data(), kTriedBytes);
  const double seconds = seconds_since(began);
  if (!pinned) {
    return Error(pinned.error().kind(),
                 fmt::format("{} cannot be pinned, which makes copies slower (locked memory of "
                             "this process, ulimit -l: {}): {}",
                             format_bytes(kTriedBytes), lock_limit(), pinned.error().message()));
  }
  TRY(runtime.unpin(memory.data()));
  return fmt::format("{} in {:.1f} ms, {:.1f} GB/s; locked memory of this process: {}",
                     format_bytes(kTriedBytes), seconds * 1e3,
                     static_cast<double>(kTriedBytes) / 1e9 / seconds, lock_limit());
}

// On a thread that has the device.
Result<std::string> send_some(GpuRuntime& runtime, int device, const Arena& memory) {
  DeviceMemory there(runtime, device, kTriedBytes, DeviceAllocator::malloc);
  TRY(there.allocate());
  const Arena back = TRY(Arena::reserve(kTriedBytes));
  // Of words that are all different.
  auto* const words = reinterpret_cast<std::uint64_t*>(memory.data());
  for (std::uint64_t i = 0; i < kTriedBytes / sizeof *words; ++i)
    words[i] = i * 0x9E37'79B9'7F4A'7C15;
  const GpuStream stream = TRY(runtime.create_stream());
  auto outcome = runtime.copy_to_device(there.data(), memory.data(), kTriedBytes, stream);
  if (outcome) outcome = runtime.copy_to_host(back.data(), there.data(), kTriedBytes, stream);
  auto done = runtime.synchronize(stream);
  static_cast<void>(runtime.destroy_stream(stream).has_value());
  TRY(std::move(outcome));
  TRY(std::move(done));
  if (std::memcmp(back.data(), memory.data(), kTriedBytes) != 0) {
    const auto at = std::mismatch(memory.data(), memory.data() + kTriedBytes, back.data()).first -
                    memory.data();
    return Error(ErrorKind::device,
                 fmt::format("byte {} of {} came back from the device as {:#04x} instead of "
                             "{:#04x}: its memory or the way to it is broken",
                             at, kTriedBytes, std::to_integer<unsigned>(back.data()[at]),
                             std::to_integer<unsigned>(memory.data()[at])));
  }
  return fmt::format("{} went there and came back the same", format_bytes(kTriedBytes));
}

std::string numa_text(const GpuFacts& facts) {
  const auto node = numa_node_of(facts.pci_address);
  if (!node) return "the machine has one node, or does not say which the device is at";
  const int here = numa_node_here();
  const auto distance = numa_distance(here, *node);
  return fmt::format(
      "the device is at node {}; this thread runs at node {}{}{}", *node, here,
      distance ? fmt::format(", distance {} (10: the same)", *distance) : "",
      here == *node ? "" : fmt::format("; staging memory is taken from node {}", *node));
}

}  // namespace

Result<void> diagnose_device(Device device, const DoctorReport& report) {
  DoctorSteps steps(report);
  const GpuKind* const kind = find_gpu_kind(device.kind);
  GpuRuntime* runtime = nullptr;
  GpuFacts facts;
  const auto on_device = [&](const auto& work) -> Result<std::string> {
    Result<std::string> outcome = std::string();
    TRY(try_on_device(*runtime, device.number, [&] { outcome = work(); }));
    return outcome;
  };
  Arena memory;
  const bool is_well = steps.run("driver", [&]() -> Result<std::string> {
    if (kind == nullptr) TRY(runtime_of(device));  // says so
    runtime = TRY(kind->runtime());
    return devices_of(*kind, *runtime);
  }) && steps.run("device", [&]() -> Result<std::string> {
    TRY(runtime_of(device));
    facts = TRY(runtime->facts(device.number));
    return fmt::format("{}, compute {}, {} at {}; memory pools: {}", facts.name, facts.compute,
                       format_bytes(facts.memory_bytes), facts.pci_address,
                       facts.has_pools ? "yes" : "no");
  }) && steps.run("context", [&] {
    return on_device([&]() -> Result<std::string> {
      return fmt::format("{} of {} are free", format_bytes(TRY(runtime->free_bytes())),
                         format_bytes(facts.memory_bytes));
    });
  }) && steps.run("pinned", [&]() -> Result<std::string> {
    memory = TRY(Arena::reserve(kTriedBytes));
    return on_device([&] { return pin_some(*runtime, memory); });
  }) && steps.run("bytes", [&] {
    return on_device([&] { return send_some(*runtime, device.number, memory); });
  }) && steps.run("copies", [&]() -> Result<std::string> {
    return fmt::format("{:.2f} GB/s from pinned memory",
                       TRY(measure_copy_rate(*runtime, device.number)) / 1e9);
  }) && steps.run("numa", [&]() -> Result<std::string> { return numa_text(facts); });
  if (!is_well) return steps.failure();
  return {};
}

}  // namespace streamer::core::inline doctor
