// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which neighbours of a chunk one copy to its device may bring.

#include <cstdint>
#include <optional>

#include "engine/plan.hpp"

namespace streamer::core {

// For one chunk, whose places come in the order of the object.
class CopyJoiner {
 public:
  // Both must outlive this.
  CopyJoiner(const Plan& plan, const Chunk& chunk) : plan_(&plan), item_(chunk.first_item) {}

  // How much padding lies between what was added last and the place, if one copy may bring both and
  // the padding; nullopt if it may not. Padding is of the library's memory, where nothing lies
  // between two items that are read one after the other; memory of the caller is joined only within
  // an item, because his next one may be an allocation of its own.
  [[nodiscard]] std::optional<std::uint64_t> padding_before(Place place);

  void add(Place place, std::uint64_t bytes) {
    end_ = place.plus(bytes);
    has_end_ = true;
  }
  // What comes next is not joined.
  void restart() { has_end_ = false; }

 private:
  bool begins_item(Place place);

  const Plan* plan_;
  std::uint32_t item_;
  Place end_;  // of what was added last
  bool has_end_ = false;
};

}  // namespace streamer::core
