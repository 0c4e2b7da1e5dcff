// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether checkpoints that were opened in different places are the same.

#include "base/crypto.hpp"
#include "checkpoint/checkpoint.hpp"

namespace streamer::core::inline checkpoint {

// Of where the tensors are, and of which version. Files have no ETag that machines agree on;
// instead a few bytes of each are read. Not of the objects' names: they may be mounted elsewhere.
Result<Sha256Digest> digest_of(const Checkpoint& checkpoint);

}  // namespace streamer::core::inline checkpoint
