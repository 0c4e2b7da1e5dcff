// SPDX-License-Identifier: Apache-2.0
#pragma once
// The arithmetic of CRCs: by tables everywhere, and by folding with carry-less multiplication where
// the processor has it.

#include <cstdint>
#include <string_view>

namespace streamer::core::inline base {

// All are reflected, begin with all ones and end inverted. Polynomials, reflected: IEEE 802.3,
// Castagnoli (RFC 3720 B.4), and NVM Express' (NVM command set specification 5.2.1.3.4).
struct Crc32 {
  using Word = std::uint32_t;
  static constexpr Word kPolynomial = 0xEDB88320;
};
struct Crc32c {
  using Word = std::uint32_t;
  static constexpr Word kPolynomial = 0x82F63B78;
};
struct Crc64Nvme {
  using Word = std::uint64_t;
  static constexpr Word kPolynomial = 0x9A6C9329AC4BC9B5;
};

enum class CrcMethod : std::uint8_t {
  tables,
  folding,       // 16 bytes by each multiplication: PCLMULQDQ, PMULL
  wide_folding,  // 32 bytes: VPCLMULQDQ
};

// The fastest method that this processor supports.
[[nodiscard]] CrcMethod best_crc_method() noexcept;

// The CRC of the bytes that `crc` stands for, followed by bytes. Methods up to the best one are
// available.
template <typename Crc>
[[nodiscard]] std::uint64_t crc_update_by(CrcMethod method, std::uint64_t crc,
                                          std::string_view bytes) noexcept;

// The CRC of two parts from those of each.
template <typename Crc>
[[nodiscard]] std::uint64_t crc_combine_parts(std::uint64_t first, std::uint64_t second,
                                              std::uint64_t second_bytes) noexcept;

}  // namespace streamer::core::inline base
