// SPDX-License-Identifier: Apache-2.0
#pragma once
// An object that a source brings bytes of.

#include "storage/store.hpp"

namespace streamer::core {

// Both live as long as the checkpoint that they are of.
struct SourceObject {
  const Object* object = nullptr;
  Store* store = nullptr;
};

}  // namespace streamer::core
