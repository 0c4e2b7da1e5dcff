// SPDX-License-Identifier: Apache-2.0
#pragma once
// An object that a source reads.

#include "storage/store.hpp"

namespace streamer::core::inline engine {

// Both live as long as their checkpoint.
struct SourceObject {
  const Object* object = nullptr;
  Store* store = nullptr;
};

}  // namespace streamer::core::inline engine
