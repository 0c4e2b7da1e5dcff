// SPDX-License-Identifier: Apache-2.0
#include "engine/copy_joiner.hpp"

namespace streamer::core::inline engine {

namespace {

// Padding up to this is copied along: a second copy would cost more.
constexpr std::uint64_t kMostPaddingBytes = 4 * kKiB;

}  // namespace

std::optional<std::uint64_t> CopyJoiner::padding_before(Place place) {
  // Called each time, so that it sees every item.
  const bool begins = !place.in_arena && begins_item(place);
  if (!has_end_ || end_.in_arena != place.in_arena || place.value < end_.value) return std::nullopt;
  const std::uint64_t padding = place.value - end_.value;
  if (!place.in_arena) return padding == 0 && !begins ? std::optional(padding) : std::nullopt;
  if (padding > kMostPaddingBytes) return std::nullopt;
  // On the next lap of a ring it lies elsewhere.
  const Place last{end_.value - 1, end_.memory, true};
  const bool is_next = plan_->arena_offset(last) + 1 + padding == plan_->arena_offset(place);
  return is_next ? std::optional(padding) : std::nullopt;
}

bool CopyJoiner::begins_item(Place place) {
  const auto items = plan_->items();
  const auto holds = [&](const PlanItem& item) {
    return !item.place.in_arena && place.value >= item.place.value &&
           place.value - item.place.value < item.bytes;
  };
  while (item_ + 1 < items.size() && !holds(items[item_]))
    ++item_;
  return place.value == items[item_].place.value;
}

}  // namespace streamer::core::inline engine
