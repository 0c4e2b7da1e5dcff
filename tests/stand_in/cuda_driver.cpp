// SPDX-License-Identifier: Apache-2.0
// A stand-in for libcuda.so.1 over host memory: one thread per stream, which takes its time, so
// that streams overtake each other, and an eye on what must not happen. As strict as the real one
// about contexts and versions. A program that is not steered by a test (driver.hpp) is by the
// environment: STAND_IN_CUDA="devices=2 version=11040 init=803 delay_us=50 memory=1000000 pools=0
// fail=cuMemcpyHtoDAsync:3:719"; what must not happen then ends it.
#include "stand_in/cuda_driver.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "gpu/cuda_abi.hpp"
#include "stand_in/cuda_state.hpp"

namespace streamer::test {

namespace {

Driver& driver() {
  // Never destroyed: its streams' threads may outlast main().
  static auto* const made = new Driver;
  return *made;
}

std::byte* pointer(Address address) {
  return reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(address));
}
std::byte* pointer(const void* memory) {
  return static_cast<std::byte*>(const_cast<void*>(memory));
}

#define ENTER(...) \
  if (const Status failed = driver().enter(__VA_ARGS__)) return failed
// The name of the function that is being defined, without "call_".
#define NAME (__func__ + 5)

Status call_cuInit(unsigned int) {
  ENTER(NAME, Driver::Needs::nothing);
  return driver().start();
}
Status call_cuGetErrorName(Status status, const char** name) {
  switch (status) {
    case kInvalidValue:
      *name = "CUDA_ERROR_INVALID_VALUE";
      break;
    case kOutOfMemory:
      *name = "CUDA_ERROR_OUT_OF_MEMORY";
      break;
    case kNotInitialized:
      *name = "CUDA_ERROR_NOT_INITIALIZED";
      break;
    case kInvalidContext:
      *name = "CUDA_ERROR_INVALID_CONTEXT";
      break;
    case kInvalidHandle:
      *name = "CUDA_ERROR_INVALID_HANDLE";
      break;
    case kIllegalAddress:
      *name = "CUDA_ERROR_ILLEGAL_ADDRESS";
      break;
    case kContextIsDestroyed:
      *name = "CUDA_ERROR_CONTEXT_IS_DESTROYED";
      break;
    case kLaunchFailed:
      *name = "CUDA_ERROR_LAUNCH_FAILED";
      break;
    default:
      *name = nullptr;
      return kInvalidValue;
  }
  return kSuccess;
}
Status call_cuGetErrorString(Status status, const char** text) {
  *text = status == kOutOfMemory ? "out of memory" : "failed because the test wants it";
  return kSuccess;
}
Status call_cuDeviceGetCount(int* count) {
  ENTER(NAME, Driver::Needs::started);
  *count = driver().device_count();
  return kSuccess;
}
Status call_cuDeviceGet(DeviceHandle* device, int number) {
  ENTER(NAME, Driver::Needs::started);
  if (!driver().is_device(number)) return 101;  // CUDA_ERROR_INVALID_DEVICE
  *device = number;
  return kSuccess;
}
Status call_cuDeviceGetName(char* name, int size, DeviceHandle device) {
  ENTER(NAME, Driver::Needs::started);
  std::snprintf(name, static_cast<std::size_t>(size), "Stand-in %d",
                driver().number_in_machine(device));
  return kSuccess;
}
Status call_cuDeviceGetPCIBusId(char* text, int size, DeviceHandle device) {
  ENTER(NAME, Driver::Needs::started);
  std::snprintf(text, static_cast<std::size_t>(size), "0000:%02X:00.0",
                driver().number_in_machine(device) + 0x19);
  return kSuccess;
}
Status call_cuDeviceTotalMem(std::size_t* bytes, DeviceHandle) {
  ENTER(NAME, Driver::Needs::started);
  *bytes = driver().memory_bytes();
  return kSuccess;
}
Status call_cuDeviceGetAttribute(int* value, int attribute, DeviceHandle) {
  ENTER(NAME, Driver::Needs::started);
  *value = attribute == kMemoryPoolsSupported ? (driver().has_pools() ? 1 : 0)
           : attribute == kComputeMajor       ? 9
                                              : 0;
  return kSuccess;
}
Status call_cuDevicePrimaryCtxRetain(Context* context, DeviceHandle device) {
  ENTER(NAME, Driver::Needs::started);
  return driver().retain(device, context);
}
Status call_cuDevicePrimaryCtxGetState(DeviceHandle device, unsigned int* flags, int* is_active) {
  ENTER(NAME, Driver::Needs::started);
  *flags = 0;
  *is_active = driver().is_active(device) ? 1 : 0;
  return kSuccess;
}
Status call_cuCtxSetCurrent(Context context) {
  ENTER(NAME, Driver::Needs::started);
  return driver().make_current(context);
}
Status call_cuCtxGetDevice(DeviceHandle* device) {
  ENTER(NAME);
  *device = current->device;
  return kSuccess;
}
Status call_cuCtxSynchronize() {
  ENTER(NAME);
  driver().wait_for_device();
  return kSuccess;
}
Status call_cuMemGetInfo(std::size_t* free, std::size_t* all) {
  ENTER(NAME);
  *free = driver().free_bytes();
  *all = driver().memory_bytes();
  return kSuccess;
}
Status call_cuMemAlloc(Address* memory, std::size_t bytes) {
  ENTER(NAME);
  return driver().allocate(memory, bytes, false);
}
Status call_cuMemFree(Address memory) {
  ENTER(NAME);
  // Waits for the device, as the real one does.
  driver().wait_for_device();
  driver().give_back(pointer(memory), false);
  return kSuccess;
}
Status call_cuMemAllocAsync(Address* memory, std::size_t bytes, Stream) {
  ENTER(NAME);
  if (!driver().has_pools()) return 801;  // CUDA_ERROR_NOT_SUPPORTED
  return driver().allocate(memory, bytes, true);
}
Status call_cuMemFreeAsync(Address memory, Stream stream) {
  ENTER(NAME);
  driver().enqueue(stream, [memory] { driver().give_back(pointer(memory), true); });
  return kSuccess;
}
Status call_cuMemHostRegister(void* memory, std::size_t bytes, unsigned int) {
  ENTER(NAME);
  return driver().pin(pointer(memory), bytes);
}
Status call_cuMemHostUnregister(void* memory) {
  ENTER(NAME);
  return driver().unpin(pointer(memory));
}
Status call_cuPointerGetAttribute(void* value, int, Address memory) {
  ENTER(NAME);
  const int device = driver().device_of(pointer(memory));
  if (device < 0) return kInvalidValue;
  *static_cast<int*>(value) = device;
  return kSuccess;
}

Status copy(const char* name, Driver::Side to, Driver::Side from, std::uint64_t row_bytes,
            std::uint64_t rows, Stream stream) {
  ENTER(name);
  auto* const in = static_cast<StreamState*>(stream);
  if (const Status wrong = driver().check_own(name, in->context)) return wrong;
  driver().copy(to, from, row_bytes, rows, in);
  return kSuccess;
}
Status call_cuMemcpyHtoDAsync(Address to, const void* from, std::size_t bytes, Stream stream) {
  return copy(NAME, {pointer(to), bytes, true}, {pointer(from), bytes, false}, bytes, 1, stream);
}
Status call_cuMemcpyDtoHAsync(void* to, Address from, std::size_t bytes, Stream stream) {
  return copy(NAME, {pointer(to), bytes, false}, {pointer(from), bytes, true}, bytes, 1, stream);
}
Status call_cuMemcpyDtoDAsync(Address to, Address from, std::size_t bytes, Stream stream) {
  return copy(NAME, {pointer(to), bytes, true}, {pointer(from), bytes, true}, bytes, 1, stream);
}
Status call_cuMemcpy2DAsync(const Copy2d* rows, Stream stream) {
  if (rows->from.memory_type != kMemoryTypeDevice || rows->to.memory_type != kMemoryTypeDevice ||
      rows->height == 0 || rows->width_bytes > std::min(rows->from.pitch, rows->to.pitch)) {
    driver().violate_unlocked("rows that do not fit their pitch");
    return kInvalidValue;
  }
  return copy(NAME, {pointer(rows->to.device), rows->to.pitch, true},
              {pointer(rows->from.device), rows->from.pitch, true}, rows->width_bytes, rows->height,
              stream);
}
Status call_cuStreamCreate(Stream* stream, unsigned int flags) {
  ENTER(NAME);
  if (flags != kStreamNonBlocking) driver().violate_unlocked("a stream that waits for stream 0");
  *stream = driver().make_stream();
  return kSuccess;
}
Status call_cuStreamDestroy(Stream stream) {
  driver().end_stream(static_cast<StreamState*>(stream));
  ENTER(NAME);
  return kSuccess;
}
Status call_cuStreamSynchronize(Stream stream) {
  driver().wait_for_stream(static_cast<StreamState*>(stream));
  ENTER(NAME);
  return kSuccess;
}
Status call_cuStreamWaitEvent(Stream stream, Event event, unsigned int) {
  ENTER(NAME);
  driver().wait_in_stream(static_cast<StreamState*>(stream), static_cast<EventState*>(event));
  return kSuccess;
}
Status call_cuEventCreate(Event* event, unsigned int flags) {
  ENTER(NAME);
  if (flags != (kEventBlockingSync | kEventDisableTiming))
    driver().violate_unlocked("an event that spins or takes the time");
  *event = driver().make_event();
  return kSuccess;
}
Status call_cuEventDestroy(Event event) {
  ENTER(NAME);
  driver().end_event(static_cast<EventState*>(event));
  return kSuccess;
}
Status call_cuEventRecord(Event event, Stream stream) {
  ENTER(NAME);
  auto* const in = static_cast<StreamState*>(stream);
  auto* const recorded = static_cast<EventState*>(event);
  if (in->context != recorded->context) return kInvalidHandle;
  driver().record(recorded, in);
  return kSuccess;
}
Status call_cuEventQuery(Event event) {
  ENTER(NAME);
  return driver().is_done(static_cast<EventState*>(event)) ? kSuccess : kNotReady;
}
Status call_cuEventSynchronize(Event event) {
  driver().wait_for(static_cast<EventState*>(event));
  ENTER(NAME);
  return kSuccess;
}

// What an older or a newer function of a name would do with the parameters of this one.
Status wrong_version() {
  driver().violate_unlocked("a function of another version, with other parameters, was called");
  return kUnknown;
}

struct Entry {
  const char* name;
  int version;
  void* function;
};

const Entry kEntries[] = {
#define CUDA_CALL(name, version, ...) {#name, version, reinterpret_cast<void*>(&call_##name)},
#include "gpu/cuda_calls.inc"
#undef CUDA_CALL
    // As in the real one, with 32-bit addresses or a context more.
    {"cuDeviceTotalMem", 2000, reinterpret_cast<void*>(&wrong_version)},
    {"cuMemGetInfo", 2000, reinterpret_cast<void*>(&wrong_version)},
    {"cuMemAlloc", 2000, reinterpret_cast<void*>(&wrong_version)},
    {"cuMemFree", 2000, reinterpret_cast<void*>(&wrong_version)},
    {"cuMemHostRegister", 4000, reinterpret_cast<void*>(&wrong_version)},
    {"cuMemcpyHtoDAsync", 2000, reinterpret_cast<void*>(&wrong_version)},
    {"cuMemcpyDtoHAsync", 2000, reinterpret_cast<void*>(&wrong_version)},
    {"cuMemcpyDtoDAsync", 3000, reinterpret_cast<void*>(&wrong_version)},
    {"cuMemcpy2DAsync", 2000, reinterpret_cast<void*>(&wrong_version)},
    {"cuStreamDestroy", 2000, reinterpret_cast<void*>(&wrong_version)},
    {"cuEventDestroy", 2000, reinterpret_cast<void*>(&wrong_version)},
    {"cuCtxGetDevice", 13000, reinterpret_cast<void*>(&wrong_version)},
    {"cuCtxSynchronize", 13000, reinterpret_cast<void*>(&wrong_version)},
};

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT StandInDriver* stand_in_driver();
EXPORT StandInDriver* stand_in_driver() {
  return &driver();
}

EXPORT Status cuDriverGetVersion(int* version);
EXPORT Status cuDriverGetVersion(int* version) {
  *version = driver().version();
  return kSuccess;
}

// The newest function of the name that is no newer than what is asked for.
EXPORT Status cuGetProcAddress(const char* name, void** function, int version, std::uint64_t);
EXPORT Status cuGetProcAddress(const char* name, void** function, int version,
                               std::uint64_t flags) {
  if (flags > kLegacyStream) driver().violate_unlocked("functions of per-thread default streams");
  const int known = std::min(version, driver().version());
  const Entry* found = nullptr;
  for (const Entry& entry : kEntries) {
    if (std::strcmp(entry.name, name) == 0 && entry.version <= known &&
        (found == nullptr || entry.version > found->version))
      found = &entry;
  }
  *function = found == nullptr ? nullptr : found->function;
  return found == nullptr ? kNotFound : kSuccess;
}

// For tests that have a context of their own.
EXPORT Status cuCtxCreate_v2(Context* context, unsigned int flags, DeviceHandle device);
EXPORT Status cuCtxCreate_v2(Context* context, unsigned int, DeviceHandle device) {
  *context = driver().make_context(device);
  return kSuccess;
}
EXPORT Status cuCtxDestroy_v2(Context context);
EXPORT Status cuCtxDestroy_v2(Context context) {
  if (current == context) current = nullptr;
  return kSuccess;
}
EXPORT Status cuCtxGetCurrent(Context* context);
EXPORT Status cuCtxGetCurrent(Context* context) {
  *context = current;
  return kSuccess;
}

}  // namespace streamer::test
