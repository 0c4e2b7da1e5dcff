// SPDX-License-Identifier: Apache-2.0
#pragma once
// The memory of a load: one range of host memory, backed by huge pages where the system gives them.

#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/result.hpp"

namespace streamer::core {

class Arena {
 public:
  // Reserves addresses; pages come at the first touch. bytes 0 gives an empty arena.
  static Result<Arena> reserve(std::uint64_t bytes);

  Arena() = default;
  Arena(Arena&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Arena& operator=(Arena&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Arena();

  // Thread-safe. Gives the whole huge pages of [offset, offset + size) back to the system; their
  // content is lost. Nobody may be using them.
  void give_back(std::uint64_t offset, std::uint64_t size) const noexcept;

  // Aligned to a huge page.
  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::uint64_t bytes_ = 0;
};

}  // namespace streamer::core
