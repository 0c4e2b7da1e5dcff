// SPDX-License-Identifier: Apache-2.0
#pragma once
// The library's memory as DLPack tensors. The structs are DLPack's ABI (1.1, and the one before
// versions), spelled out here so that DLPack's header is not needed.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "memory/device.hpp"

extern "C" {

struct DLDevice {
  std::int32_t device_type;
  std::int32_t device_id;
};

struct DLDataType {
  std::uint8_t code;
  std::uint8_t bits;
  std::uint16_t lanes;
};

struct DLTensor {
  void* data;
  DLDevice device;
  std::int32_t ndim;
  DLDataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements
  std::uint64_t byte_offset;
};

struct DLManagedTensor {
  DLTensor dl_tensor;
  void* manager_ctx;
  void (*deleter)(DLManagedTensor* self);
};

struct DLPackVersion {
  std::uint32_t major;
  std::uint32_t minor;
};

struct DLManagedTensorVersioned {
  DLPackVersion version;
  void* manager_ctx;
  void (*deleter)(DLManagedTensorVersioned* self);
  std::uint64_t flags;
  DLTensor dl_tensor;
};

}  // extern "C"

namespace streamer::core::inline memory {

// The memory to export and its holder: release(holder) is called once, by the deleter, on any
// thread.
struct DlpackSource {
  void* data = nullptr;
  std::uint64_t bytes = 0;
  Device device = {};  // whose memory
  std::span<const std::uint64_t> shape;
  std::uint32_t bits = 8;  // of one element
  // Without a code the tensor comes as rows of bytes.
  std::optional<std::uint8_t> code;
  void* holder = nullptr;
  void (*release)(void* holder) = nullptr;
};

// The caller has already taken one reference to the memory for the export.
DLManagedTensorVersioned* export_dlpack_versioned(const DlpackSource& source);
DLManagedTensor* export_dlpack(const DlpackSource& source);

}  // namespace streamer::core::inline memory
