// SPDX-License-Identifier: Apache-2.0
#pragma once
// Half-open byte ranges and arithmetic that cannot wrap.

#include <cstdint>
#include <optional>

namespace streamer::core::inline base {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::uint64_t kGiB = 1024 * kMiB;

// The unit of file-offset congruence and of O_DIRECT: the page of every machine we run on, and a
// multiple of every logical block size.
inline constexpr std::uint64_t kPageBytes = 4096;
// A transparent huge page on x86-64, and on arm64 with 4 KiB pages.
inline constexpr std::uint64_t kHugePageBytes = 2 * kMiB;

// Bytes [offset, offset + size) of one object.
struct ByteRange {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;

  [[nodiscard]] constexpr std::uint64_t end() const noexcept { return offset + size; }
  [[nodiscard]] constexpr bool empty() const noexcept { return size == 0; }
  friend constexpr bool operator==(const ByteRange&, const ByteRange&) = default;
};

[[nodiscard]] constexpr std::optional<std::uint64_t> checked_add(std::uint64_t a,
                                                                 std::uint64_t b) noexcept {
  std::uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

[[nodiscard]] constexpr std::optional<std::uint64_t> checked_multiply(std::uint64_t a,
                                                                      std::uint64_t b) noexcept {
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

// unit must be a power of two.
[[nodiscard]] constexpr std::uint64_t round_down(std::uint64_t value, std::uint64_t unit) noexcept {
  return value & ~(unit - 1);
}
[[nodiscard]] constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) noexcept {
  return (value + unit - 1) & ~(unit - 1);
}

}  // namespace streamer::core::inline base
