// SPDX-License-Identifier: Apache-2.0
#pragma once
// The memory of a load: one range of host memory, backed by huge pages where the system gives them.

#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/result.hpp"

namespace streamer::core {

// Where memory comes from instead of the system. allocate returns nullptr if it has none; release
// may be called on any thread.
struct HostAllocator {
  void* (*allocate)(std::size_t bytes, std::size_t alignment, void* user) = nullptr;
  void (*release)(void* memory, std::size_t bytes, void* user) = nullptr;
  void* user = nullptr;
};

class Arena {
 public:
  // Whether the system is asked to promise memory for every address: what it cannot back is then an
  // error here, and not the end of the process at the first touch. Without it, whoever reserves
  // keeps count of what is touched.
  enum class Promise : std::uint8_t { all, none };

  // Reserves addresses; pages come at the first touch, but for those that another arena left: they
  // are its first ones. bytes 0 gives an empty arena.
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
        allocator_(other.allocator_) {}
  Arena& operator=(Arena&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(left_bytes_, other.left_bytes_);
    std::swap(promise_, other.promise_);
    std::swap(allocator_, other.allocator_);
    return *this;
  }
  ~Arena();

  // Thread-safe. Gives the whole huge pages of [offset, offset + size) back to the system; their
  // content is lost. Nobody may be using them. Nothing of an allocator's memory, which has no pages
  // of ours.
  void give_back(std::uint64_t offset, std::uint64_t size) const noexcept;

  // Once this ends, the next arena gets its first `bytes` with the pages that are there, of which
  // the system may take what it needs meanwhile. One arena's are kept at a time; nothing of an
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
};

// Both thread-safe. What an arena left, and no other one took.
[[nodiscard]] std::uint64_t left_arena_bytes() noexcept;
void drop_left_arena() noexcept;

}  // namespace streamer::core
