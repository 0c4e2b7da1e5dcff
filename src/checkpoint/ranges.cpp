// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/ranges.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "base/on_threads.hpp"
#include "checkpoint/dtype.hpp"

namespace streamer::core::inline checkpoint {

namespace {

struct Opening {
  std::vector<Object> objects;
  std::vector<OpenedRange> ranges;
};

// Each once, in the order in which ranges name them first.
Result<Opening> open_objects(std::span<const ObjectRange> ranges, Stores& stores) {
  Opening opening;
  std::map<std::string, std::uint32_t, std::less<>> numbers;
  std::vector<Uri> uris;
  for (const ObjectRange& range : ranges) {
    const auto [known, is_new] =
        numbers.try_emplace(range.uri, static_cast<std::uint32_t>(uris.size()));
    if (is_new) uris.push_back(TRY(parse_uri(range.uri)));
    opening.ranges.push_back({known->second, range.bytes});
  }
  opening.objects =
      TRY(on_threads<Object>("streamer-open", kOpeningThreads, uris.size(),
                             [&](std::size_t i) { return open_object(stores, uris[i]); }));
  return opening;
}

Result<void> check_end(const ObjectRange& range, const Object& object) {
  const auto end = checked_add(range.bytes.offset, range.bytes.size);
  if (end && *end <= object.size) return {};
  return Error(ErrorKind::invalid_argument,
               fmt::format(
                   "RangeBeyondEnd: {} bytes from byte {} on were requested, but the file has {}",
                   range.bytes.size, range.bytes.offset, object.size))
      .at(object.uri.text(), range.bytes);
}

}  // namespace

Result<Object> open_object(Stores& stores, const Uri& uri) {
  Store* const store = TRY(stores.of(uri));
  Opened opened = TRY(store->open(uri, 1));
  return std::move(opened.object);
}

std::shared_ptr<const Checkpoint> checkpoint_of(std::vector<Object> objects,
                                                std::span<const OpenedRange> ranges,
                                                std::shared_ptr<Stores> stores) {
  auto checkpoint = std::make_shared<Checkpoint>();
  checkpoint->stores = std::move(stores);
  for (Object& object : objects)
    checkpoint->objects.emplace_back().object = std::move(object);
  std::vector<std::size_t> order(ranges.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    if (ranges[a].object != ranges[b].object) return ranges[a].object < ranges[b].object;
    if (ranges[a].bytes.offset != ranges[b].bytes.offset)
      return ranges[a].bytes.offset < ranges[b].bytes.offset;
    return a < b;
  });
  for (const std::size_t i : order) {
    ++checkpoint->objects[ranges[i].object].tensor_count;
    const std::string name = std::to_string(i);
    const std::uint64_t shape = ranges[i].bytes.size;
    checkpoint->tensors.add({.name = name,
                             .dtype = Dtype::u8,
                             .shape = {&shape, 1},
                             .object = ranges[i].object,
                             .bytes = ranges[i].bytes});
  }
  static_cast<void>(checkpoint->tensors.finish());  // no name comes twice
  return checkpoint;
}

Result<std::shared_ptr<const Checkpoint>> open_ranges(std::span<const ObjectRange> ranges,
                                                      std::shared_ptr<Stores> stores) {
  Opening opening = TRY(open_objects(ranges, *stores));
  for (std::size_t i = 0; i < ranges.size(); ++i)
    TRY(check_end(ranges[i], opening.objects[opening.ranges[i].object]));
  return checkpoint_of(std::move(opening.objects), opening.ranges, std::move(stores));
}

}  // namespace streamer::core::inline checkpoint
