// SPDX-License-Identifier: Apache-2.0
#pragma once
// Tensors as they are stored, and as a load yields them.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "device.hpp"
#include "result.hpp"

namespace streamer {

enum class Dtype : std::int32_t {
#define STREAMER_DTYPE(name, number, text, bits, elements, dlpack) name = number,
#include "dtypes.inc"
#undef STREAMER_DTYPE
};

// "BF16", as safetensors spells it. Static storage.
inline std::string_view name(Dtype dtype) noexcept {
  const char* const text = streamer_dtype_name(static_cast<std::int32_t>(dtype));
  return text == nullptr ? "unknown" : text;
}

// Bits of one element: 4, 6, 8 .. 64.
inline std::uint32_t bits(Dtype dtype) noexcept {
  return streamer_dtype_bits(static_cast<std::int32_t>(dtype));
}

// One tensor as it is stored. Views live as long as the Checkpoint.
struct TensorInfo {
  std::size_t number = 0;  // in the checkpoint, from 0
  std::string_view name;
  Dtype dtype = Dtype::u8;
  std::span<const std::uint64_t> shape;  // [rows, columns, ..]; empty: a scalar
  std::uint64_t bytes = 0;
  std::size_t object = 0;           // index of the object that holds it
  std::uint64_t object_offset = 0;  // of its first byte in the object
};

// One yielded item: holds its memory until it is destroyed or release() is called. Move-only. Any
// number of threads may read it at once; it may be destroyed on any thread, also after its Load.
class Tensor {
 public:
  // Takes ownership of a tensor that streamer_load_next() stored.
  explicit Tensor(streamer_tensor* tensor) noexcept : tensor_(tensor) {
    view_ = STREAMER_TENSOR_VIEW_INIT;
    streamer_tensor_get_view(tensor_, &view_);
  }
  Tensor(Tensor&& other) noexcept
      : tensor_(std::exchange(other.tensor_, nullptr)), view_(other.view_) {}
  Tensor& operator=(Tensor&& other) noexcept {
    std::swap(tensor_, other.tensor_);
    std::swap(view_, other.view_);
    return *this;
  }
  ~Tensor() { release(); }

  // Returns the memory to the load; the tensor must not be used afterwards. Work already queued on
  // a device may still use the memory; with device_memory_limit, only work in LoadOptions::stream.
  void release() noexcept { streamer_tensor_release(std::exchange(tensor_, nullptr)); }

  std::string_view name() const noexcept { return {view_.name, view_.name_size}; }
  Dtype dtype() const noexcept { return static_cast<Dtype>(view_.dtype); }
  // Of the requested part: a slice's dimension is cut; a byte range is one row of U8.
  std::span<const std::uint64_t> shape() const noexcept { return {view_.shape, view_.rank}; }
  // The bytes, row-major and dense, in memory of device(): only there may they be accessed. The
  // owner may write to them; the library no longer does.
  std::span<std::byte> bytes() const noexcept {
    return {static_cast<std::byte*>(view_.data), static_cast<std::size_t>(view_.bytes)};
  }
  Device device() const noexcept { return Device::of(view_.device); }
  std::size_t number() const noexcept { return view_.tensor; }  // in the checkpoint
  std::size_t item() const noexcept { return view_.item; }      // in the plan
  std::uint64_t tag() const noexcept { return view_.tag; }      // of the plan's item

  // DLPack exports (dlpack.h has the types). Each holds the memory until its deleter is called, on
  // any thread. Dtypes unknown to DLPack, and those of fewer than 8 bits, come as rows of bytes.
  Result<DLManagedTensorVersioned*> to_dlpack_versioned() const {
    DLManagedTensorVersioned* managed = nullptr;
    streamer_error* error = nullptr;
    if (streamer_tensor_to_dlpack_versioned(tensor_, &managed, &error) != STREAMER_OK) {
      return Error(error);
    }
    return managed;
  }
  Result<DLManagedTensor*> to_dlpack() const {
    DLManagedTensor* managed = nullptr;
    streamer_error* error = nullptr;
    if (streamer_tensor_to_dlpack(tensor_, &managed, &error) != STREAMER_OK) return Error(error);
    return managed;
  }

 private:
  streamer_tensor* tensor_;
  streamer_tensor_view view_;
};

}  // namespace streamer
