// SPDX-License-Identifier: Apache-2.0
#include "memory/dlpack.hpp"

#include <memory>

namespace streamer::core::inline memory {

namespace {

constexpr std::int32_t kCpu = 1;       // kDLCPU
constexpr std::uint8_t kUnsigned = 1;  // kDLUInt

// The exported struct and everything it points to, in one piece of memory.
template <typename Managed>
struct Export {
  Managed managed{};
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;
  void* holder = nullptr;
  void (*release)(void* holder) = nullptr;

  static void end(Managed* self) {
    const std::unique_ptr<Export> whole(static_cast<Export*>(self->manager_ctx));
    whole->release(whole->holder);
  }
};

// The shape as rows of bytes: the last dimension counts the bytes of its elements, if they are
// whole.
std::vector<std::int64_t> byte_shape(const DlpackSource& source) {
  std::vector<std::int64_t> shape(source.shape.begin(), source.shape.end());
  if (shape.empty()) return {static_cast<std::int64_t>(source.bytes)};
  const std::uint64_t row_bits = source.shape.back() * source.bits;
  if (row_bits % 8 != 0) return {static_cast<std::int64_t>(source.bytes)};
  shape.back() = static_cast<std::int64_t>(row_bits / 8);
  return shape;
}

template <typename Managed>
Managed* make_export(const DlpackSource& source) {
  auto whole = std::make_unique<Export<Managed>>();
  const bool as_bytes = !source.code;
  whole->shape = as_bytes ? byte_shape(source)
                          : std::vector<std::int64_t>(source.shape.begin(), source.shape.end());
  whole->strides.resize(whole->shape.size());
  std::int64_t stride = 1;
  for (std::size_t i = whole->shape.size(); i-- > 0;) {
    whole->strides[i] = stride;
    stride *= whole->shape[i];
  }
  whole->holder = source.holder;
  whole->release = source.release;
  DLTensor& tensor = whole->managed.dl_tensor;
  tensor.data = source.bytes == 0 ? nullptr : source.data;
  // Kinds of devices have DLPack's own numbers.
  tensor.device = source.device.is_host() ? DLDevice{kCpu, 0}
                                          : DLDevice{source.device.kind, source.device.number};
  tensor.ndim = static_cast<std::int32_t>(whole->shape.size());
  tensor.dtype = as_bytes ? DLDataType{kUnsigned, 8, 1}
                          : DLDataType{*source.code, static_cast<std::uint8_t>(source.bits), 1};
  tensor.shape = whole->shape.data();
  tensor.strides = whole->strides.data();
  whole->managed.manager_ctx = whole.get();
  whole->managed.deleter = &Export<Managed>::end;
  return &whole.release()->managed;
}

}  // namespace

DLManagedTensorVersioned* export_dlpack_versioned(const DlpackSource& source) {
  DLManagedTensorVersioned* const managed = make_export<DLManagedTensorVersioned>(source);
  managed->version = {1, 1};
  return managed;
}

DLManagedTensor* export_dlpack(const DlpackSource& source) {
  return make_export<DLManagedTensor>(source);
}

}  // namespace streamer::core::inline memory
