// SPDX-License-Identifier: Apache-2.0
#pragma once
// What libcufile.so.0 takes and returns, as far as it is used here, declared anew so that its
// header is not needed to build. tests/gpu/cufile_headers.cpp compares it with NVIDIA's own.

#include <sys/types.h>

#include <cstddef>

namespace streamer::core::inline gpu::cu_file_abi {

// CUfileError_t
struct Status {
  int code;  // 0: success; else CUfileOpError
  int cuda_code;
};

// CUfileDescr_t
struct Description {
  int type;
  union {
    int fd;
    void* handle;
  } handle;
  const void* operations;
};
inline constexpr int kTypeFileDescriptor = 1;  // CU_FILE_HANDLE_TYPE_OPAQUE_FD

struct Calls {
#define CU_FILE_CALL(result, name, ...) result (*name)(__VA_ARGS__) = nullptr;
#include "gpu/cu_file_calls.inc"
#undef CU_FILE_CALL
};

}  // namespace streamer::core::inline gpu::cu_file_abi
