// SPDX-License-Identifier: Apache-2.0
#pragma once
// What libnccl.so.2 takes and returns, as far as it is used here, declared anew so that its header
// is not needed to build. tests/gpu/nccl_headers.cpp compares it with NVIDIA's own.

#include <array>
#include <cstddef>

namespace streamer::core::inline distributed::nccl_abi {

// Passed by value.
struct UniqueId {
  std::array<char, 128> internal;
};
using Comm = void*;
using Status = int;  // ncclResult_t
inline constexpr Status kSuccess = 0;
inline constexpr Status kInProgress = 7;
inline constexpr int kInt8 = 0;  // ncclDataType_t

struct Calls {
#define NCCL_CALL(result, name, ...) result (*name)(__VA_ARGS__) = nullptr;
#include "distributed/nccl_calls.inc"
#undef NCCL_CALL
};

}  // namespace streamer::core::inline distributed::nccl_abi
