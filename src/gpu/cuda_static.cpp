// SPDX-License-Identifier: Apache-2.0
// The CUDA runtime of the toolkit, linked statically, in the place of cuda_gpus.cpp: for builds
// with -Dtoolkit_cudart=enabled, which measure one against the other.
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <array>

#include "gpu/cuda_driver.hpp"
#include "gpu/gpu_kinds.hpp"

namespace streamer::core::inline gpu {

namespace {

// Errors that leave the device's context unusable: no later call can succeed.
bool is_sticky(cudaError_t code) {
  switch (code) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorECCUncorrectable:
    case cudaErrorAssert:
    case cudaErrorContained:
    case cudaErrorUnknown:
      return true;
    default:
      return false;
  }
}

Result<void> check(std::string_view call, cudaError_t code) {
  if (code == cudaSuccess) return {};
  // Ours, and not the program's to find.
  static_cast<void>(cudaGetLastError());
  const ErrorKind kind =
      code == cudaErrorMemoryAllocation ? ErrorKind::out_of_memory : ErrorKind::device;
  return Error(kind,
               fmt::format("{}: {} ({}){}", call, cudaGetErrorString(code), cudaGetErrorName(code),
                           is_sticky(code)
                               ? "; this process can no longer use the device and must be restarted"
                               : ""));
}

class StaticRuntime final : public GpuRuntime {
 public:
  [[nodiscard]] std::string_view kind_name() const noexcept override { return "cuda"; }
  Result<int> device_count() override {
    int count = 0;
    TRY(check("cudaGetDeviceCount", cudaGetDeviceCount(&count)));
    return count;
  }
  Result<std::string> version() override {
    int driver = 0;
    TRY(check("cudaDriverGetVersion", cudaDriverGetVersion(&driver)));
    return fmt::format("driver of CUDA {}, runtime {}", cuda_version_text(driver),
                       cuda_version_text(CUDART_VERSION));
  }
  Result<GpuFacts> facts(int device) override {
    cudaDeviceProp properties{};
    TRY(check("cudaGetDeviceProperties", cudaGetDeviceProperties(&properties, device)));
    std::array<char, 32> address{};
    TRY(check("cudaDeviceGetPCIBusId",
              cudaDeviceGetPCIBusId(address.data(), static_cast<int>(address.size()), device)));
    int has_pools = 0;
    TRY(check("cudaDeviceGetAttribute",
              cudaDeviceGetAttribute(&has_pools, cudaDevAttrMemoryPoolsSupported, device)));
    GpuFacts facts;
    facts.name = properties.name;
    facts.compute = fmt::format("{}.{}", properties.major, properties.minor);
    facts.pci_address = address.data();
    facts.memory_bytes = properties.totalGlobalMem;
    facts.has_pools = has_pools != 0;
    return facts;
  }
  Result<void> use_device(int device) override {
    return check("cudaSetDevice", cudaSetDevice(device));
  }
  Result<std::uint64_t> free_bytes() override {
    std::size_t free = 0;
    std::size_t all = 0;
    TRY(check("cudaMemGetInfo", cudaMemGetInfo(&free, &all)));
    return std::uint64_t{free};
  }
  Result<void*> allocate(std::uint64_t bytes) override {
    void* memory = nullptr;
    TRY(check("cudaMalloc", cudaMalloc(&memory, bytes)));
    return memory;
  }
  Result<void> free(void* memory) override { return check("cudaFree", cudaFree(memory)); }
  Result<void*> allocate_async(std::uint64_t bytes, GpuStream stream) override {
    void* memory = nullptr;
    TRY(check("cudaMallocAsync",
              cudaMallocAsync(&memory, bytes, static_cast<cudaStream_t>(stream))));
    return memory;
  }
  Result<void> free_async(void* memory, GpuStream stream) override {
    return check("cudaFreeAsync", cudaFreeAsync(memory, static_cast<cudaStream_t>(stream)));
  }
  Result<std::optional<int>> device_of(const void* memory) override {
    cudaPointerAttributes found{};
    TRY(check("cudaPointerGetAttributes", cudaPointerGetAttributes(&found, memory)));
    if (found.type == cudaMemoryTypeUnregistered) return std::optional<int>();
    return std::optional<int>(found.device);
  }
  Result<void> pin(void* memory, std::uint64_t bytes) override {
    return check("cudaHostRegister", cudaHostRegister(memory, bytes, cudaHostRegisterPortable));
  }
  Result<void> unpin(void* memory) override {
    return check("cudaHostUnregister", cudaHostUnregister(memory));
  }
  Result<GpuStream> create_stream() override {
    cudaStream_t stream = nullptr;
    TRY(check("cudaStreamCreateWithFlags",
              cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking)));
    return static_cast<GpuStream>(stream);
  }
  Result<void> destroy_stream(GpuStream stream) override {
    return check("cudaStreamDestroy", cudaStreamDestroy(static_cast<cudaStream_t>(stream)));
  }
  Result<GpuEvent> create_event() override {
    cudaEvent_t event = nullptr;
    TRY(check("cudaEventCreateWithFlags",
              cudaEventCreateWithFlags(&event, cudaEventDisableTiming | cudaEventBlockingSync)));
    return static_cast<GpuEvent>(event);
  }
  Result<void> destroy_event(GpuEvent event) override {
    return check("cudaEventDestroy", cudaEventDestroy(static_cast<cudaEvent_t>(event)));
  }
  Result<void> copy_to_device(void* to, const void* from, std::uint64_t bytes,
                              GpuStream stream) override {
    return check("cudaMemcpyAsync", cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice,
                                                    static_cast<cudaStream_t>(stream)));
  }
  Result<void> copy_to_host(void* to, const void* from, std::uint64_t bytes,
                            GpuStream stream) override {
    return check("cudaMemcpyAsync", cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost,
                                                    static_cast<cudaStream_t>(stream)));
  }
  Result<void> copy_on_device(void* to, std::uint64_t to_pitch, const void* from,
                              std::uint64_t from_pitch, std::uint64_t row_bytes, std::uint64_t rows,
                              GpuStream stream) override {
    return check("cudaMemcpy2DAsync",
                 cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, row_bytes, rows,
                                   cudaMemcpyDeviceToDevice, static_cast<cudaStream_t>(stream)));
  }
  Result<void> record(GpuEvent event, GpuStream stream) override {
    return check("cudaEventRecord", cudaEventRecord(static_cast<cudaEvent_t>(event),
                                                    static_cast<cudaStream_t>(stream)));
  }
  Result<void> synchronize(GpuStream stream) override {
    return check("cudaStreamSynchronize", cudaStreamSynchronize(static_cast<cudaStream_t>(stream)));
  }
  Result<void> synchronize_device() override {
    return check("cudaDeviceSynchronize", cudaDeviceSynchronize());
  }
  Result<void> wait_in_stream(GpuStream stream, GpuEvent event) override {
    return check("cudaStreamWaitEvent", cudaStreamWaitEvent(static_cast<cudaStream_t>(stream),
                                                            static_cast<cudaEvent_t>(event), 0));
  }
  Result<void> wait_for(GpuEvent event) override {
    return check("cudaEventSynchronize", cudaEventSynchronize(static_cast<cudaEvent_t>(event)));
  }
  Result<bool> is_done(GpuEvent event) override {
    const cudaError_t state = cudaEventQuery(static_cast<cudaEvent_t>(event));
    if (state == cudaErrorNotReady) return false;
    TRY(check("cudaEventQuery", state));
    return true;
  }
};

Result<GpuRuntime*> cuda_runtime() {
  static auto* const runtime = new StaticRuntime;
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code == cudaSuccess && count > 0) return static_cast<GpuRuntime*>(runtime);
  static_cast<void>(cudaGetLastError());
  int driver = 0;
  static_cast<void>(cudaDriverGetVersion(&driver));
  static_cast<void>(cudaGetLastError());
  if (driver == 0) {
    return Error(ErrorKind::device,
                 "this machine has no NVIDIA driver (libcuda.so.1 could not be loaded)");
  }
  if (code == cudaErrorInsufficientDriver) {
    return Error(ErrorKind::device,
                 fmt::format("the NVIDIA driver is too old: it knows CUDA {}, and this library "
                             "needs {}; update the driver",
                             cuda_version_text(driver), cuda_version_text(CUDART_VERSION)));
  }
  if (code == cudaSuccess || code == cudaErrorNoDevice) {
    return Error(ErrorKind::device, "there is no GPU, or CUDA_VISIBLE_DEVICES hides all of them");
  }
  return Error(ErrorKind::device, fmt::format("CUDA does not start: {} ({})",
                                              cudaGetErrorString(code), cudaGetErrorName(code)));
}

}  // namespace

GpuKind cuda_gpus() noexcept;

GpuKind cuda_gpus() noexcept {
  return {kCudaKind, "cuda", "CUDA_VISIBLE_DEVICES", cuda_runtime};
}

}  // namespace streamer::core::inline gpu
