// SPDX-License-Identifier: Apache-2.0
#include "boundary.hpp"
#include "memory/dlpack.hpp"

using namespace streamer::capi;
namespace core = streamer::core;

namespace {

core::DlpackSource dlpack_source(core::TensorLease& lease) {
  const core::DtypeRow& dtype = core::dtype_row(lease.tensor().dtype);
  // A byte range has no elements of the tensor's dtype, only bytes.
  const bool is_bytes = lease.part() == core::Part::bytes;
  return {.data = lease.data(),
          .bytes = lease.bytes(),
          .device = lease.device(),
          .shape = lease.shape(),
          .bits = is_bytes ? 8 : dtype.bits,
          .code = is_bytes ? std::nullopt : dtype.dlpack_code,
          .holder = &lease,
          .release = [](void* holder) { static_cast<core::TensorLease*>(holder)->release(); }};
}

template <typename Managed, typename Export>
streamer_status export_tensor(const streamer_tensor* tensor, Managed** managed_out,
                              streamer_error** error_out, Export&& export_source) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(tensor);
    STREAMER_REQUIRE(managed_out);
    core::TensorLease& lease = *from_handle(tensor);
    *managed_out = export_source(dlpack_source(lease));
    lease.retain();  // after what may fail
    return STREAMER_OK;
  });
}

}  // namespace

extern "C" {

void streamer_tensor_get_view(const streamer_tensor* tensor, streamer_tensor_view* view_out) {
  if (tensor == nullptr || view_out == nullptr) return;
  const core::TensorLease& lease = *from_handle(tensor);
  const core::TensorView stored = lease.tensor();
  const auto shape = lease.shape();
  streamer_tensor_view view = STREAMER_TENSOR_VIEW_INIT;
  view.name = stored.name.data();
  view.name_size = stored.name.size();
  view.dtype =
      lease.part() == core::Part::bytes ? STREAMER_DTYPE_U8 : static_cast<int32_t>(stored.dtype);
  view.rank = static_cast<uint32_t>(shape.size());
  view.shape = shape.data();
  view.data = lease.data();
  view.bytes = lease.bytes();
  view.device = to_c(lease.device());
  view.part = static_cast<int32_t>(lease.part());
  view.tensor = lease.tensor_number();
  view.item = lease.item();
  view.tag = lease.tag();
  copy_out_if_sound(view, view_out);
}

void streamer_tensor_release(streamer_tensor* tensor) {
  if (tensor != nullptr) from_handle(tensor)->release();
}

streamer_status streamer_tensor_to_dlpack_versioned(const streamer_tensor* tensor,
                                                    DLManagedTensorVersioned** managed_out,
                                                    streamer_error** error_out) {
  return export_tensor(tensor, managed_out, error_out, core::export_dlpack_versioned);
}

streamer_status streamer_tensor_to_dlpack(const streamer_tensor* tensor,
                                          DLManagedTensor** managed_out,
                                          streamer_error** error_out) {
  return export_tensor(tensor, managed_out, error_out, core::export_dlpack);
}

}  // extern "C"
