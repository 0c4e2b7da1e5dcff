// SPDX-License-Identifier: Apache-2.0
// gpu/cuda_abi.hpp against NVIDIA's own headers, by the compiler; there is nothing to run.
#include <cuda.h>
// Behind it.
#include <cudaTypedefs.h>

#include "gpu/cuda_abi.hpp"
#include "same_abi.hpp"

namespace streamer::test {

namespace {

namespace ours = core::cuda_abi;

#define SAME(our, their) static_assert(static_cast<long long>(ours::our) == their, #their)
SAME(kSuccess, CUDA_SUCCESS);
SAME(kInvalidValue, CUDA_ERROR_INVALID_VALUE);
SAME(kOutOfMemory, CUDA_ERROR_OUT_OF_MEMORY);
SAME(kNotInitialized, CUDA_ERROR_NOT_INITIALIZED);
SAME(kStubLibrary, CUDA_ERROR_STUB_LIBRARY);
SAME(kNoDevice, CUDA_ERROR_NO_DEVICE);
SAME(kInvalidContext, CUDA_ERROR_INVALID_CONTEXT);
SAME(kEccUncorrectable, CUDA_ERROR_ECC_UNCORRECTABLE);
SAME(kNvlinkUncorrectable, CUDA_ERROR_NVLINK_UNCORRECTABLE);
SAME(kInvalidHandle, CUDA_ERROR_INVALID_HANDLE);
SAME(kNotFound, CUDA_ERROR_NOT_FOUND);
SAME(kNotReady, CUDA_ERROR_NOT_READY);
SAME(kIllegalAddress, CUDA_ERROR_ILLEGAL_ADDRESS);
SAME(kLaunchTimeout, CUDA_ERROR_LAUNCH_TIMEOUT);
SAME(kContextIsDestroyed, CUDA_ERROR_CONTEXT_IS_DESTROYED);
SAME(kAssert, CUDA_ERROR_ASSERT);
SAME(kHardwareStackError, CUDA_ERROR_HARDWARE_STACK_ERROR);
SAME(kIllegalInstruction, CUDA_ERROR_ILLEGAL_INSTRUCTION);
SAME(kMisalignedAddress, CUDA_ERROR_MISALIGNED_ADDRESS);
SAME(kInvalidAddressSpace, CUDA_ERROR_INVALID_ADDRESS_SPACE);
SAME(kInvalidPc, CUDA_ERROR_INVALID_PC);
SAME(kLaunchFailed, CUDA_ERROR_LAUNCH_FAILED);
SAME(kSystemNotReady, CUDA_ERROR_SYSTEM_NOT_READY);
SAME(kSystemDriverMismatch, CUDA_ERROR_SYSTEM_DRIVER_MISMATCH);
SAME(kCompatNotSupported, CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE);
SAME(kUnknown, CUDA_ERROR_UNKNOWN);
SAME(kComputeMajor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
SAME(kComputeMinor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
SAME(kMemoryPoolsSupported, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED);
SAME(kDeviceOrdinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL);
SAME(kHostRegisterPortable, CU_MEMHOSTREGISTER_PORTABLE);
SAME(kStreamNonBlocking, CU_STREAM_NON_BLOCKING);
SAME(kEventBlockingSync, CU_EVENT_BLOCKING_SYNC);
SAME(kEventDisableTiming, CU_EVENT_DISABLE_TIMING);
SAME(kMemoryTypeDevice, CU_MEMORYTYPE_DEVICE);
SAME(kLegacyStream, CU_GET_PROC_ADDRESS_LEGACY_STREAM);
#if CUDA_VERSION >= 12090  // which has its name only since
SAME(kContained, CUDA_ERROR_CONTAINED);
#endif
#undef SAME

static_assert(sizeof(ours::Copy2d) == sizeof(CUDA_MEMCPY2D));
#define SAME_PLACE(our, their)                                                          \
  static_assert(offsetof(ours::Copy2d, our) == offsetof(CUDA_MEMCPY2D, their), #their); \
  static_assert(sizeof(ours::Copy2d().our) == sizeof(CUDA_MEMCPY2D().their), #their)
SAME_PLACE(from.x_bytes, srcXInBytes);
SAME_PLACE(from.y, srcY);
SAME_PLACE(from.memory_type, srcMemoryType);
SAME_PLACE(from.host, srcHost);
SAME_PLACE(from.device, srcDevice);
SAME_PLACE(from.array, srcArray);
SAME_PLACE(from.pitch, srcPitch);
SAME_PLACE(to.x_bytes, dstXInBytes);
SAME_PLACE(to.y, dstY);
SAME_PLACE(to.memory_type, dstMemoryType);
SAME_PLACE(to.host, dstHost);
SAME_PLACE(to.device, dstDevice);
SAME_PLACE(to.array, dstArray);
SAME_PLACE(to.pitch, dstPitch);
SAME_PLACE(width_bytes, WidthInBytes);
SAME_PLACE(height, Height);
#undef SAME_PLACE

// Each of the version that is asked for: a header that has a later function of the name as well
// gives the earlier one, too, under this name.
#define CUDA_CALL(name, version, ...) \
  static_assert(kIsSameAbi<decltype(ours::Calls::name), PFN_##name##_v##version>, #name);
#include "gpu/cuda_calls.inc"
#undef CUDA_CALL
static_assert(kIsSameAbi<ours::DriverGetVersion, PFN_cuDriverGetVersion_v2020>);
static_assert(kIsSameAbi<ours::GetProcAddress, PFN_cuGetProcAddress_v11030>);

}  // namespace

}  // namespace streamer::test
