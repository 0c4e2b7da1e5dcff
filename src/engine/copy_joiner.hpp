// SPDX-License-Identifier: Apache-2.0
#pragma once
// Decides which neighbouring places of a chunk one copy to its device may cover.

#include <cstdint>
#include <optional>

#include "engine/plan.hpp"

namespace streamer::core::inline engine {

// For one chunk, whose places come in the order of the object.
class CopyJoiner {
 public:
  // Both must outlive this.
  CopyJoiner(const Plan& plan, const Chunk& chunk) : plan_(&plan), item_(chunk.first_item) {}

  // The padding between the last added place and this one, if one copy may cover both and the
  // padding; nullopt if it may not. Padding exists only in the library's memory, where nothing lies
  // between two items that are read one after the other; memory of the caller is joined only within
  // an item, because its next item may be a separate allocation.
  [[nodiscard]] std::optional<std::uint64_t> padding_before(Place place);

  void add(Place place, std::uint64_t bytes) {
    end_ = place.plus(bytes);
    has_end_ = true;
  }
  // The next place is not joined.
  void restart() { has_end_ = false; }

 private:
  bool begins_item(Place place);

  const Plan* plan_;
  std::uint32_t item_;
  Place end_;  // of what was added last
  bool has_end_ = false;
};

}  // namespace streamer::core::inline engine
