// SPDX-License-Identifier: Apache-2.0
#pragma once
// An object that a source reads.

#include <memory>

#include "storage/store.hpp"

namespace streamer::core::inline engine {

// Object and store live as long as their checkpoint.
struct SourceObject {
  const Object* object = nullptr;
  Store* store = nullptr;
  std::shared_ptr<CacheEntry> cached = nullptr;  // nullptr: its bytes are not kept
};

}  // namespace streamer::core::inline engine
