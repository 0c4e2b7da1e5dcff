// SPDX-License-Identifier: Apache-2.0
#pragma once
// The memory of a load: one range of host memory, backed by huge pages where the system gives them.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/result.hpp"
#include "memory/fresh_pages.hpp"

namespace streamer::core::inline memory {

// Replaces the system as the source of memory. allocate returns nullptr if it has none; release may
// be called on any thread.
struct HostAllocator {
  void* (*allocate)(std::size_t bytes, std::size_t alignment, void* user) = nullptr;
  void (*release)(void* memory, std::size_t bytes, void* user) = nullptr;
  void* user = nullptr;
};

class Arena {
 public:
  // Whether the system must commit memory for every address: a shortage is then an error here
  // instead of the end of the process at the first touch. Without it, the owner keeps count of what
  // is touched.
  enum class Promise : std::uint8_t { all, none };

  // Reserves addresses; pages come at the first touch, except those that another arena left, which
  // are the first ones. bytes 0 makes an empty arena.
  static Result<Arena> reserve(std::uint64_t bytes, Promise promise = Promise::all);
  // The same from an allocator, which has one if allocate is not nullptr.
  static Result<Arena> reserve(std::uint64_t bytes, Promise promise,
                               const HostAllocator& allocator);

  Arena() = default;
  Arena(Arena&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)),
        left_bytes_(std::exchange(other.left_bytes_, 0)),
        promise_(other.promise_),
        allocator_(other.allocator_),
        fresh_(std::move(other.fresh_)) {}
  Arena& operator=(Arena&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(left_bytes_, other.left_bytes_);
    std::swap(promise_, other.promise_);
    std::swap(allocator_, other.allocator_);
    std::swap(fresh_, other.fresh_);
    return *this;
  }
  ~Arena();

  // Thread-safe: before [at, at + bytes), which lies in the arena, is written. Its pages are there
  // afterwards: huge ones for as long as they come at once. True for the call that found them slow.
  bool touch(const std::byte* at, std::uint64_t bytes) const noexcept {
    return fresh_ && fresh_->touch(at, bytes);
  }

  // Thread-safe. Returns the whole huge pages of [offset, offset + size) to the system; their
  // content is lost, so they must not be in use. Does nothing with an allocator's memory.
  void give_back(std::uint64_t offset, std::uint64_t size) const noexcept;

  // When this arena is destroyed, the next one gets its first `bytes` with their pages; until then
  // the system may reclaim what it needs. Only one arena's pages are kept at a time, and none of an
  // allocator's memory.
  void leave_to_next(std::uint64_t bytes) noexcept { left_bytes_ = bytes; }

  // Aligned to a huge page; to a page, if it is an allocator's.
  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::uint64_t bytes_ = 0;
  std::uint64_t left_bytes_ = 0;
  Promise promise_ = Promise::all;
  HostAllocator allocator_;
  std::unique_ptr<FreshPages> fresh_;  // nullptr: an allocator's memory, or none
};

// Both thread-safe. The pages that an arena left and no other one has taken.
[[nodiscard]] std::uint64_t left_arena_bytes() noexcept;
void drop_left_arena() noexcept;

}  // namespace streamer::core::inline memory
