// SPDX-License-Identifier: Apache-2.0
#include "gpu/cuda_driver.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>

namespace streamer::core::inline gpu {

namespace {

using namespace cuda_abi;

// Errors that leave the device's context unusable: no later call can succeed.
bool is_sticky(Status status) {
  switch (status) {
    case kEccUncorrectable:
    case kNvlinkUncorrectable:
    case kContained:
    case kIllegalAddress:
    case kLaunchTimeout:
    case kAssert:
    case kHardwareStackError:
    case kIllegalInstruction:
    case kMisalignedAddress:
    case kInvalidAddressSpace:
    case kInvalidPc:
    case kLaunchFailed:
    case kUnknown:
      return true;
    default:
      return false;
  }
}

std::string_view consequence(Status status) {
  if (is_sticky(status)) return "; this process can no longer use the device and must be restarted";
  if (status == kContextIsDestroyed || status == kInvalidContext)
    return "; something in this process destroyed the device's context while it was in use "
           "(cudaDeviceReset() does): start the load again";
  return "";
}

// "an illegal memory access was encountered (CUDA_ERROR_ILLEGAL_ADDRESS)"
std::string status_text(const Calls& calls, Status status) {
  const char* text = nullptr;
  const char* name = nullptr;
  // Neither is there for a status that is newer than this driver.
  if (calls.cuGetErrorString(status, &text) != kSuccess || text == nullptr) text = "unknown error";
  if (calls.cuGetErrorName(status, &name) != kSuccess || name == nullptr)
    return fmt::format("{} (code {})", text, status);
  return fmt::format("{} ({})", text, name);
}

constexpr std::string_view kInContainer = "in a container, start it with its GPUs (--gpus all)";

Error why_it_does_not_start(const Calls& calls, Status status) {
  switch (status) {
    case kNoDevice: {
      // Set and empty hides all.
      const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
      if (visible != nullptr) {
        return Error(ErrorKind::device,
                     fmt::format("CUDA_VISIBLE_DEVICES=\"{}\" hides every GPU from this process: "
                                 "unset it, or name GPUs that nvidia-smi -L lists",
                                 visible));
      }
      return Error(ErrorKind::device,
                   fmt::format("there is no GPU: the NVIDIA driver finds none in this machine, as "
                               "nvidia-smi -L would tell; {}",
                               kInContainer));
    }
    case kStubLibrary:
      return Error(ErrorKind::device,
                   "this machine has no NVIDIA driver: the libcuda.so.1 that was found is the CUDA "
                   "toolkit's stub, which is for linking only; remove its folder from "
                   "LD_LIBRARY_PATH");
    case kSystemDriverMismatch:
      return Error(ErrorKind::device,
                   "the NVIDIA driver does not start: its library and its kernel module are of "
                   "different versions, as after an update; restart the machine, or, in a "
                   "container, use the host's library");
    case kSystemNotReady:
      return Error(ErrorKind::device,
                   "the NVIDIA driver does not start: the GPUs are not ready yet; where they are "
                   "connected by NVSwitch, the service nvidia-fabricmanager must run");
    case kCompatNotSupported:
      return Error(ErrorKind::device,
                   "the NVIDIA driver does not start: the libcuda.so.1 that was found is of the "
                   "package cuda-compat, which does not support this GPU; remove its folder from "
                   "LD_LIBRARY_PATH");
    default:
      return Error(ErrorKind::device, fmt::format("the NVIDIA driver does not start: cuInit: {}",
                                                  status_text(calls, status)));
  }
}

// What of a status makes no sense without the calls that explain it.
Result<void> find_calls(GetProcAddress get, Calls& calls) {
  const auto find = [get](const char* name, int version, auto& call) -> Result<void> {
    void* function = nullptr;
    const Status status = get(name, &function, version, kLegacyStream);
    if (status == kSuccess && function != nullptr) {
      call = reinterpret_cast<std::remove_reference_t<decltype(call)>>(function);
      return {};
    }
    return Error(ErrorKind::device,
                 fmt::format("the NVIDIA driver has no {} of CUDA {} (code {}): reinstall it", name,
                             cuda_version_text(version), status));
  };
#define CUDA_CALL(name, version, ...) TRY(find(#name, version, calls.name));
#include "gpu/cuda_calls.inc"
#undef CUDA_CALL
  return {};
}

}  // namespace

std::string cuda_version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

Result<CudaDriver> load_cuda_driver(const std::string& library) {
  // Never closed: the driver has threads of its own.
  void* const opened = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (opened == nullptr) {
    return Error(ErrorKind::device,
                 fmt::format("this machine has no NVIDIA driver ({}); install it; {}", ::dlerror(),
                             kInContainer));
  }
  const auto get_version =
      reinterpret_cast<DriverGetVersion>(::dlsym(opened, "cuDriverGetVersion"));
  CudaDriver driver;
  if (get_version == nullptr || get_version(&driver.version) != kSuccess) {
    return Error(ErrorKind::device,
                 fmt::format("this machine has no NVIDIA driver: the {} that was found does not "
                             "tell its version, as a driver does",
                             library));
  }
  const auto get = reinterpret_cast<GetProcAddress>(::dlsym(opened, "cuGetProcAddress"));
  if (driver.version < kOldestCudaDriver || get == nullptr) {
    return Error(
        ErrorKind::device,
        fmt::format("the NVIDIA driver is too old: it knows CUDA {}, and libstreamer needs "
                    "{}, driver 470, or newer; update the driver",
                    cuda_version_text(driver.version), cuda_version_text(kOldestCudaDriver)));
  }
  TRY(find_calls(get, driver.calls));
  const Status status = driver.calls.cuInit(0);
  if (status != kSuccess) return why_it_does_not_start(driver.calls, status);
  return driver;
}

Result<void> check_cuda(const Calls& calls, std::string_view call, Status status) {
  if (status == kSuccess) return {};
  return Error(status == kOutOfMemory ? ErrorKind::out_of_memory : ErrorKind::device,
               fmt::format("{}: {}{}", call, status_text(calls, status), consequence(status)));
}

}  // namespace streamer::core::inline gpu
