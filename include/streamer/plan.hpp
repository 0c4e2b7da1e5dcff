// SPDX-License-Identifier: Apache-2.0
#pragma once
// What to load, and where to put it: a list of (tensor or a part of it, destination).

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

// [start, stop) along one dimension. Only the bytes it needs are read.
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

// Where an item's bytes go. Memory of the caller must stay valid until the load ends and have room
// for the part; on a device, it must not be used until the item's tensor is yielded.
class Destination {
 public:
  // Memory of the library, on LoadOptions::device.
  Destination() = default;
  // Memory of the caller, on the host: a span, or anything convertible to one.
  template <typename Memory>
  requires std::convertible_to<Memory, std::span<std::byte>> Destination(Memory&& memory)
  noexcept {
    const std::span<std::byte> span = std::forward<Memory>(memory);
    // An empty vector has no address, and is not the library's memory either.
    memory_ = span.data() != nullptr ? static_cast<void*>(span.data()) : &bytes_of_nothing;
    bytes_ = span.size();
  }
  // Memory of the library, on the device.
  Destination(Device device) noexcept : device_(device) {}
  // Memory of the caller, on the device.
  Destination(Device device, void* memory, std::size_t bytes) noexcept
      : device_(device), memory_(memory), bytes_(bytes) {}

  Device device() const noexcept { return device_; }
  void* memory() const noexcept { return memory_; }  // nullptr: memory of the library
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  inline static std::byte bytes_of_nothing{};  // never written: it counts as 0 bytes

  Device device_;
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
};

// Filled by one owner, then given to any number of loads. Keeps what it needs of the checkpoint.
// add() fails with invalid_argument and leaves the plan unchanged for a part outside the tensor, a
// slice of a sub-byte dtype that does not begin and end on a byte, or a destination that is too
// small. The same tensor may be added several times. tag comes back with the tensor.
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

  // Adds every tensor whose name matches (fnmatch: * ? [..]; * also matches '/' and '.'), in
  // storage order. Returns their number; 0 is not an error.
  Result<std::size_t> add_matching(const std::string& glob) {
    std::size_t added = 0;
    streamer_error* error = nullptr;
    if (streamer_plan_add_matching(plan_.get(), glob.c_str(), &added, &error) != STREAMER_OK) {
      return Error(error);
    }
    return added;
  }
  // Adds every tensor.
  Result<std::size_t> add_everything() { return add_matching("*"); }

  // Items whose tensor's name matches globs[0] are read first, then those that match globs[1], and
  // so on, then all others; each group in storage order.
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

  // The size of the buffer that set_buffer() needs. alignment: a power of two up to 4096.
  std::uint64_t buffer_bytes(std::size_t alignment = 64) const noexcept {
    return streamer_plan_buffer_bytes(plan_.get(), alignment);
  }
  // Places all items in one host buffer of the caller: packed in the order of the items, each at a
  // multiple of alignment from the buffer's start. No item can be added afterwards.
  Result<void> set_buffer(std::span<std::byte> buffer, std::size_t alignment = 64) {
    streamer_error* error = nullptr;
    if (streamer_plan_set_buffer(plan_.get(), buffer.data(), buffer.size(), alignment, &error) !=
        STREAMER_OK) {
      return Error(error);
    }
    return {};
  }

  std::size_t size() const noexcept { return streamer_plan_item_count(plan_.get()); }
  // The bytes of all items together.
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
