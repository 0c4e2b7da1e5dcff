// SPDX-License-Identifier: Apache-2.0
#include "gpu/cuda_driver_runtime.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <climits>

#include "base/fork.hpp"

namespace streamer::core::inline gpu {

using namespace cuda_abi;

namespace {

Address address(const void* memory) {
  return static_cast<Address>(reinterpret_cast<std::uintptr_t>(memory));
}

// The largest pitch of cuMemcpy2DAsync().
constexpr std::uint64_t kMostPitch = INT_MAX;

}  // namespace

Result<int> CudaDriverRuntime::count_devices(const CudaDriver& driver) {
  int count = 0;
  TRY(check_cuda(driver.calls, "cuDeviceGetCount", driver.calls.cuDeviceGetCount(&count)));
  return count;
}

CudaDriverRuntime::CudaDriverRuntime(const CudaDriver& driver, int devices)
    : driver_(driver),
      generation_(fork_generation()),
      contexts_(static_cast<std::size_t>(std::max(devices, 0))) {}

// A forked child has the driver's memory, but neither its threads nor its devices.
Result<void> CudaDriverRuntime::check_process() const {
  if (fork_generation() == generation_) return {};
  return Error(ErrorKind::device,
               "this process was forked after CUDA had been started, and cannot use it: start it "
               "anew (multiprocessing's \"spawn\"), or use no GPU before fork()");
}

Result<int> CudaDriverRuntime::device_count() {
  TRY(check_process());
  return static_cast<int>(contexts_.size());
}

Result<std::string> CudaDriverRuntime::version() {
  return fmt::format("driver of CUDA {}", cuda_version_text(driver_.version));
}

Result<GpuFacts> CudaDriverRuntime::facts(int device) {
  TRY(check_process());
  const Calls& calls = driver_.calls;
  DeviceHandle handle = 0;
  TRY(check("cuDeviceGet", calls.cuDeviceGet(&handle, device)));
  std::array<char, 256> text{};
  const auto size = static_cast<int>(text.size());
  GpuFacts facts;
  TRY(check("cuDeviceGetName", calls.cuDeviceGetName(text.data(), size, handle)));
  facts.name = text.data();
  TRY(check("cuDeviceGetPCIBusId", calls.cuDeviceGetPCIBusId(text.data(), size, handle)));
  facts.pci_address = text.data();
  std::size_t bytes = 0;
  TRY(check("cuDeviceTotalMem", calls.cuDeviceTotalMem(&bytes, handle)));
  facts.memory_bytes = bytes;
  const auto attribute = [&](int which) -> Result<int> {
    int value = 0;
    TRY(check("cuDeviceGetAttribute", calls.cuDeviceGetAttribute(&value, which, handle)));
    return value;
  };
  facts.has_pools = TRY(attribute(kMemoryPoolsSupported)) != 0;
  facts.compute =
      fmt::format("{}.{}", TRY(attribute(kComputeMajor)), TRY(attribute(kComputeMinor)));
  return facts;
}

Result<void> CudaDriverRuntime::use_device(int device) {
  TRY(check_process());
  const Calls& calls = driver_.calls;
  if (device < 0 || static_cast<std::size_t>(device) >= contexts_.size())
    return Error(ErrorKind::device, fmt::format("cuDeviceGet: there is no device {}", device));
  DeviceHandle handle = 0;
  TRY(check("cuDeviceGet", calls.cuDeviceGet(&handle, device)));
  return contexts_[static_cast<std::size_t>(device)].with([&](Context& context) -> Result<void> {
    if (context != nullptr) {
      // cudaDeviceReset() of some other part of the process ends the one that was kept.
      unsigned int flags = 0;
      int is_active = 0;
      TRY(check("cuDevicePrimaryCtxGetState",
                calls.cuDevicePrimaryCtxGetState(handle, &flags, &is_active)));
      if (is_active == 0) context = nullptr;
    }
    // Never released: it would end under others that, as the CUDA runtime does, rely on it.
    if (context == nullptr)
      TRY(check("cuDevicePrimaryCtxRetain", calls.cuDevicePrimaryCtxRetain(&context, handle)));
    return check("cuCtxSetCurrent", calls.cuCtxSetCurrent(context));
  });
}

Result<std::uint64_t> CudaDriverRuntime::free_bytes() {
  std::size_t free = 0;
  std::size_t all = 0;
  TRY(check("cuMemGetInfo", driver_.calls.cuMemGetInfo(&free, &all)));
  return std::uint64_t{free};
}

Result<void*> CudaDriverRuntime::allocate(std::uint64_t bytes) {
  Address memory = 0;
  TRY(check("cuMemAlloc", driver_.calls.cuMemAlloc(&memory, bytes)));
  return reinterpret_cast<void*>(static_cast<std::uintptr_t>(memory));
}

Result<void> CudaDriverRuntime::free(void* memory) {
  return check("cuMemFree", driver_.calls.cuMemFree(address(memory)));
}

Result<void*> CudaDriverRuntime::allocate_async(std::uint64_t bytes, GpuStream stream) {
  const Calls& calls = driver_.calls;
  DeviceHandle device = 0;
  TRY(check("cuCtxGetDevice", calls.cuCtxGetDevice(&device)));
  int has_pools = 0;
  TRY(check("cuDeviceGetAttribute",
            calls.cuDeviceGetAttribute(&has_pools, kMemoryPoolsSupported, device)));
  if (has_pools == 0) {
    return Error(ErrorKind::device,
                 "this device has no memory pools: set debug.device_allocator to malloc");
  }
  Address memory = 0;
  TRY(check("cuMemAllocAsync", calls.cuMemAllocAsync(&memory, bytes, stream)));
  return reinterpret_cast<void*>(static_cast<std::uintptr_t>(memory));
}

Result<void> CudaDriverRuntime::free_async(void* memory, GpuStream stream) {
  return check("cuMemFreeAsync", driver_.calls.cuMemFreeAsync(address(memory), stream));
}

Result<std::optional<int>> CudaDriverRuntime::device_of(const void* memory) {
  int device = 0;
  const Status status =
      driver_.calls.cuPointerGetAttribute(&device, kDeviceOrdinal, address(memory));
  // Memory that the driver does not know: the host's.
  if (status == kInvalidValue) return std::optional<int>();
  TRY(check("cuPointerGetAttribute", status));
  return std::optional<int>(device);
}

Result<void> CudaDriverRuntime::pin(void* memory, std::uint64_t bytes) {
  return check("cuMemHostRegister",
               driver_.calls.cuMemHostRegister(memory, bytes, kHostRegisterPortable));
}

Result<void> CudaDriverRuntime::unpin(void* memory) {
  return check("cuMemHostUnregister", driver_.calls.cuMemHostUnregister(memory));
}

Result<GpuStream> CudaDriverRuntime::create_stream() {
  Stream stream = nullptr;
  TRY(check("cuStreamCreate", driver_.calls.cuStreamCreate(&stream, kStreamNonBlocking)));
  return stream;
}

Result<void> CudaDriverRuntime::destroy_stream(GpuStream stream) {
  return check("cuStreamDestroy", driver_.calls.cuStreamDestroy(stream));
}

Result<GpuEvent> CudaDriverRuntime::create_event() {
  Event event = nullptr;
  TRY(check("cuEventCreate",
            driver_.calls.cuEventCreate(&event, kEventBlockingSync | kEventDisableTiming)));
  return event;
}

Result<void> CudaDriverRuntime::destroy_event(GpuEvent event) {
  return check("cuEventDestroy", driver_.calls.cuEventDestroy(event));
}

Result<void> CudaDriverRuntime::copy_to_device(void* to, const void* from, std::uint64_t bytes,
                                               GpuStream stream) {
  return check("cuMemcpyHtoDAsync",
               driver_.calls.cuMemcpyHtoDAsync(address(to), from, bytes, stream));
}

Result<void> CudaDriverRuntime::copy_to_host(void* to, const void* from, std::uint64_t bytes,
                                             GpuStream stream) {
  return check("cuMemcpyDtoHAsync",
               driver_.calls.cuMemcpyDtoHAsync(to, address(from), bytes, stream));
}

Result<void> CudaDriverRuntime::copy_on_device(void* to, std::uint64_t to_pitch, const void* from,
                                               std::uint64_t from_pitch, std::uint64_t row_bytes,
                                               std::uint64_t rows, GpuStream stream) {
  const Calls& calls = driver_.calls;
  if (rows == 1 || std::max(to_pitch, from_pitch) > kMostPitch) {
    for (std::uint64_t row = 0; row < rows; ++row) {
      TRY(check("cuMemcpyDtoDAsync",
                calls.cuMemcpyDtoDAsync(address(to) + row * to_pitch,
                                        address(from) + row * from_pitch, row_bytes, stream)));
    }
    return {};
  }
  Copy2d copy{};
  copy.from.memory_type = copy.to.memory_type = kMemoryTypeDevice;
  copy.from.device = address(from);
  copy.from.pitch = from_pitch;
  copy.to.device = address(to);
  copy.to.pitch = to_pitch;
  copy.width_bytes = row_bytes;
  copy.height = rows;
  return check("cuMemcpy2DAsync", calls.cuMemcpy2DAsync(&copy, stream));
}

Result<void> CudaDriverRuntime::record(GpuEvent event, GpuStream stream) {
  return check("cuEventRecord", driver_.calls.cuEventRecord(event, stream));
}

Result<void> CudaDriverRuntime::synchronize(GpuStream stream) {
  return check("cuStreamSynchronize", driver_.calls.cuStreamSynchronize(stream));
}

Result<void> CudaDriverRuntime::synchronize_device() {
  return check("cuCtxSynchronize", driver_.calls.cuCtxSynchronize());
}

Result<void> CudaDriverRuntime::wait_in_stream(GpuStream stream, GpuEvent event) {
  return check("cuStreamWaitEvent", driver_.calls.cuStreamWaitEvent(stream, event, 0));
}

Result<void> CudaDriverRuntime::wait_for(GpuEvent event) {
  return check("cuEventSynchronize", driver_.calls.cuEventSynchronize(event));
}

Result<bool> CudaDriverRuntime::is_done(GpuEvent event) {
  const Status status = driver_.calls.cuEventQuery(event);
  if (status == kNotReady) return false;
  TRY(check("cuEventQuery", status));
  return true;
}

}  // namespace streamer::core::inline gpu
