// SPDX-License-Identifier: Apache-2.0
#pragma once
// Ranges of any files as a checkpoint, for callers that know what the bytes are.

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.hpp"

namespace streamer::core::inline checkpoint {

struct ObjectRange {
  std::string uri;
  ByteRange bytes;
};

// How many objects are opened at once.
inline constexpr std::size_t kOpeningThreads = 16;
// Pins it.
Result<Object> open_object(Stores& stores, const Uri& uri);

// The same of objects that are open already.
struct OpenedRange {
  std::uint32_t object = 0;  // in objects
  ByteRange bytes;           // within the object
};
std::shared_ptr<const Checkpoint> checkpoint_of(std::vector<Object> objects,
                                                std::span<const OpenedRange> ranges,
                                                std::shared_ptr<Stores> stores);

// Range i is the tensor of name "i", U8, one row. Each object is opened once and pinned. Fails with
// invalid_argument if a range reaches beyond its object's end.
Result<std::shared_ptr<const Checkpoint>> open_ranges(std::span<const ObjectRange> ranges,
                                                      std::shared_ptr<Stores> stores);

}  // namespace streamer::core::inline checkpoint
