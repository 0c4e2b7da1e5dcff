// SPDX-License-Identifier: Apache-2.0
// distributed/nccl_abi.hpp against NVIDIA's own header, by the compiler; there is nothing to run.
#include <nccl.h>

#include "distributed/nccl_abi.hpp"
#include "same_abi.hpp"

namespace streamer::test {

namespace {

namespace ours = core::nccl_abi;

static_assert(ours::kSuccess == static_cast<int>(ncclSuccess));
static_assert(ours::kInProgress == static_cast<int>(ncclInProgress));
static_assert(ours::kInt8 == static_cast<int>(ncclInt8));
static_assert(sizeof(ours::UniqueId) == sizeof(ncclUniqueId));
static_assert(alignof(ours::UniqueId) == alignof(ncclUniqueId));

#define NCCL_CALL(result, name, ...) \
  static_assert(kIsSameAbi<decltype(ours::Calls::name), decltype(&::name)>, #name);
#include "distributed/nccl_calls.inc"
#undef NCCL_CALL

}  // namespace

}  // namespace streamer::test
