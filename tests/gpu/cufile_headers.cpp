// SPDX-License-Identifier: Apache-2.0
// gpu/cu_file_abi.hpp against NVIDIA's own header, by the compiler; there is nothing to run.
#include <cufile.h>

#include "gpu/cu_file_abi.hpp"
#include "same_abi.hpp"

namespace streamer::test {

namespace {

namespace ours = core::cu_file_abi;

static_assert(static_cast<int>(CU_FILE_SUCCESS) == 0);
static_assert(ours::kTypeFileDescriptor == static_cast<int>(CU_FILE_HANDLE_TYPE_OPAQUE_FD));
static_assert(sizeof(ours::Status) == sizeof(CUfileError_t));
static_assert(offsetof(ours::Status, code) == offsetof(CUfileError_t, err));
static_assert(offsetof(ours::Status, cuda_code) == offsetof(CUfileError_t, cu_err));
static_assert(sizeof(ours::Description) == sizeof(CUfileDescr_t));
static_assert(offsetof(ours::Description, type) == offsetof(CUfileDescr_t, type));
static_assert(offsetof(ours::Description, handle) == offsetof(CUfileDescr_t, handle));
static_assert(offsetof(ours::Description, handle.fd) == offsetof(CUfileDescr_t, handle.fd));
static_assert(offsetof(ours::Description, operations) == offsetof(CUfileDescr_t, fs_ops));

#define CU_FILE_CALL(result, name, ...) \
  static_assert(kIsSameAbi<decltype(ours::Calls::name), decltype(&::name)>, #name);
#include "gpu/cu_file_calls.inc"
#undef CU_FILE_CALL

}  // namespace

}  // namespace streamer::test
