// SPDX-License-Identifier: Apache-2.0
#pragma once
// What libcuda.so.1 takes and returns, as far as it is used here, declared anew so that no header
// of CUDA is needed to build. tests/gpu/cuda_headers.cpp compares it with NVIDIA's own.

#include <cstddef>
#include <cstdint>

namespace streamer::core::inline gpu::cuda_abi {

// Enums and handles of the driver, by what they are to a compiler.
using Status = int;        // CUresult
using DeviceHandle = int;  // CUdevice
using Address = unsigned long long;
using Context = void*;
using Stream = void*;
using Event = void*;

// CUresult, those that mean something here. Every other one is told by its own text.
inline constexpr Status kSuccess = 0;
inline constexpr Status kInvalidValue = 1;
inline constexpr Status kOutOfMemory = 2;
inline constexpr Status kNotInitialized = 3;
inline constexpr Status kStubLibrary = 34;
inline constexpr Status kNoDevice = 100;
inline constexpr Status kInvalidContext = 201;
inline constexpr Status kEccUncorrectable = 214;
inline constexpr Status kNvlinkUncorrectable = 220;
inline constexpr Status kContained = 226;
inline constexpr Status kInvalidHandle = 400;
inline constexpr Status kNotFound = 500;
inline constexpr Status kNotReady = 600;
inline constexpr Status kIllegalAddress = 700;
inline constexpr Status kLaunchTimeout = 702;
inline constexpr Status kContextIsDestroyed = 709;
inline constexpr Status kAssert = 710;
inline constexpr Status kHardwareStackError = 714;
inline constexpr Status kIllegalInstruction = 715;
inline constexpr Status kMisalignedAddress = 716;
inline constexpr Status kInvalidAddressSpace = 717;
inline constexpr Status kInvalidPc = 718;
inline constexpr Status kLaunchFailed = 719;
inline constexpr Status kSystemNotReady = 802;
inline constexpr Status kSystemDriverMismatch = 803;
inline constexpr Status kCompatNotSupported = 804;
inline constexpr Status kUnknown = 999;

inline constexpr int kComputeMajor = 75;           // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
inline constexpr int kComputeMinor = 76;           // ..._MINOR
inline constexpr int kMemoryPoolsSupported = 115;  // CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED
inline constexpr int kDeviceOrdinal = 9;           // CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
inline constexpr unsigned int kHostRegisterPortable = 1;  // CU_MEMHOSTREGISTER_PORTABLE
inline constexpr unsigned int kStreamNonBlocking = 1;     // CU_STREAM_NON_BLOCKING
inline constexpr unsigned int kEventBlockingSync = 1;     // CU_EVENT_BLOCKING_SYNC
inline constexpr unsigned int kEventDisableTiming = 2;    // CU_EVENT_DISABLE_TIMING
inline constexpr unsigned int kMemoryTypeDevice = 2;      // CU_MEMORYTYPE_DEVICE
// CU_GET_PROC_ADDRESS_LEGACY_STREAM: stream 0 is the one that all threads share.
inline constexpr std::uint64_t kLegacyStream = 1;

// CUDA_MEMCPY2D
struct Copy2d {
  struct Side {
    std::size_t x_bytes;
    std::size_t y;
    unsigned int memory_type;
    const void* host;
    Address device;
    void* array;
    std::size_t pitch;
  };
  Side from;
  Side to;
  std::size_t width_bytes;
  std::size_t height;
};

// Exported by these names, and the same in every driver.
using DriverGetVersion = Status (*)(int* version);
// Since CUDA 11.3. The later cuGetProcAddress_v2 differs in that it says why there is no such
// function; all drivers have this one too.
using GetProcAddress = Status (*)(const char* name, void** function, int version,
                                  std::uint64_t flags);

struct Calls {
#define CUDA_CALL(name, version, ...) Status (*name)(__VA_ARGS__) = nullptr;
#include "gpu/cuda_calls.inc"
#undef CUDA_CALL
};

}  // namespace streamer::core::inline gpu::cuda_abi
