// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a load shall bring, and where to: a list of (tensor, part of it; destination).

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "checkpoint.hpp"
#include "device.hpp"
#include "result.hpp"

namespace streamer {

// [start, stop) along one dimension. Only the bytes that it needs are read.
struct Slice {
  std::uint32_t dimension = 0;
  std::uint64_t start = 0;
  std::uint64_t stop = 0;
};

// Bytes [offset, offset + size) of a tensor.
struct ByteRange {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

// Where an item's bytes land. Memory of the caller must stay valid until the load ended and have
// room for the part; on a device, nobody may use it until the item's tensor was yielded.
class Destination {
 public:
  // Memory of the library, where LoadOptions::device says.
  Destination() = default;
  // Memory of the caller, on the host: a span, or whatever becomes one.
  template <typename Memory>
  requires std::convertible_to<Memory, std::span<std::byte>> Destination(Memory&& memory)
  noexcept {
    const std::span<std::byte> span = std::forward<Memory>(memory);
    memory_ = span.data();
    bytes_ = span.size();
  }
  // Memory of the library.
  Destination(Device device) noexcept : device_(device) {}
  // Memory of the caller, on the device.
  Destination(Device device, void* memory, std::size_t bytes) noexcept
      : device_(device), memory_(memory), bytes_(bytes) {}

  Device device() const noexcept { return device_; }
  void* memory() const noexcept { return memory_; }  // nullptr: memory of the library
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  Device device_;
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
};

// Filled by its one owner, then given to any number of loads. Keeps what it needs of the
// checkpoint. add() fails with invalid_argument and leaves the plan as it was: a part that is out
// of the tensor's bounds, a slice of a sub-byte dtype that does not fall on bytes, a destination
// that is too small. The same tensor may be added several times. tag comes back with the tensor.
class Plan {
 public:
  static Result<Plan> of(const Checkpoint& checkpoint) {
    streamer_plan* plan = nullptr;
    streamer_error* error = nullptr;
    if (streamer_plan_new(checkpoint.get(), &plan, &error) != STREAMER_OK) return Error(error);
    return Plan(plan);
  }

  Result<void> add(const TensorInfo& tensor, Destination destination = {}, std::uint64_t tag = 0) {
    return add_item(item_of(tensor, destination, tag));
  }
  Result<void> add(const TensorInfo& tensor, Slice slice, Destination destination = {},
                   std::uint64_t tag = 0) {
    streamer_plan_item item = item_of(tensor, destination, tag);
    item.part = STREAMER_PART_SLICE;
    item.slice_dimension = slice.dimension;
    item.slice_start = slice.start;
    item.slice_stop = slice.stop;
    return add_item(item);
  }
  Result<void> add(const TensorInfo& tensor, ByteRange range, Destination destination = {},
                   std::uint64_t tag = 0) {
    streamer_plan_item item = item_of(tensor, destination, tag);
    item.part = STREAMER_PART_BYTES;
    item.bytes_offset = range.offset;
    item.bytes_size = range.size;
    return add_item(item);
  }

  // Every tensor whose name matches (fnmatch: * ? [..]; * also crosses '/' and '.'), in storage
  // order. Returns how many; none is no error.
  Result<std::size_t> add_matching(const std::string& glob) {
    std::size_t added = 0;
    streamer_error* error = nullptr;
    if (streamer_plan_add_matching(plan_.get(), glob.c_str(), &added, &error) != STREAMER_OK) {
      return Error(error);
    }
    return added;
  }
  // Every tensor.
  Result<std::size_t> add_everything() { return add_matching("*"); }

  // Items whose tensor's name matches globs[0] are read first, then those of globs[1], and so on,
  // then all others; within each in storage order.
  Result<void> prioritize(const std::vector<std::string>& globs) {
    std::vector<const char*> pointers;
    for (const std::string& glob : globs)
      pointers.push_back(glob.c_str());
    streamer_error* error = nullptr;
    if (streamer_plan_prioritize(plan_.get(), pointers.data(), pointers.size(), &error) !=
        STREAMER_OK)
      return Error(error);
    return {};
  }

  // How large a buffer set_buffer() needs. alignment: a power of two up to 4096.
  std::uint64_t buffer_bytes(std::size_t alignment = 64) const noexcept {
    return streamer_plan_buffer_bytes(plan_.get(), alignment);
  }
  // Gives every item its place in one buffer of the caller, on the host: packed in the order of the
  // items, each at a multiple of alignment from the buffer's start. The plan takes no further item
  // after that.
  Result<void> set_buffer(std::span<std::byte> buffer, std::size_t alignment = 64) {
    streamer_error* error = nullptr;
    if (streamer_plan_set_buffer(plan_.get(), buffer.data(), buffer.size(), alignment, &error) !=
        STREAMER_OK) {
      return Error(error);
    }
    return {};
  }

  std::size_t size() const noexcept { return streamer_plan_item_count(plan_.get()); }
  // Of all items together.
  std::uint64_t bytes() const noexcept { return streamer_plan_bytes(plan_.get()); }

  // For streamer.h.
  const streamer_plan* get() const noexcept { return plan_.get(); }

 private:
  struct Free {
    void operator()(streamer_plan* plan) const noexcept { streamer_plan_free(plan); }
  };
  explicit Plan(streamer_plan* plan) noexcept : plan_(plan) {}

  static streamer_plan_item item_of(const TensorInfo& tensor, Destination destination,
                                    std::uint64_t tag) noexcept {
    streamer_plan_item item = STREAMER_PLAN_ITEM_INIT;
    item.tensor = tensor.number;
    item.destination = destination.memory();
    item.destination_bytes = destination.bytes();
    item.device = destination.device().c();
    item.tag = tag;
    return item;
  }
  Result<void> add_item(const streamer_plan_item& item) {
    streamer_error* error = nullptr;
    if (streamer_plan_add(plan_.get(), &item, 1, &error) != STREAMER_OK) return Error(error);
    return {};
  }

  std::unique_ptr<streamer_plan, Free> plan_;
};

}  // namespace streamer
