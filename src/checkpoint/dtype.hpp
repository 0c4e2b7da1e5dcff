// SPDX-License-Identifier: Apache-2.0
#pragma once
// What is known of dtypes.

#include <cstdint>
#include <optional>
#include <string_view>

namespace streamer::core::inline checkpoint {

// The numbers are those of STREAMER_DTYPE_* in streamer.h.
enum class Dtype : std::uint8_t {
#define STREAMER_DTYPE(name, number, text, bits, elements, dlpack) name = number,
#include "streamer/dtypes.inc"
#undef STREAMER_DTYPE
};

struct DtypeRow {
  Dtype dtype;
  const char* name;        // as safetensors spells it
  std::uint32_t bits;      // of a block
  std::uint32_t elements;  // of a block
  // DLPack 1.1 type code of one element, or nullopt where it has none or the element is no whole
  // byte.
  std::optional<std::uint8_t> dlpack_code;
};

[[nodiscard]] const DtypeRow& dtype_row(Dtype dtype) noexcept;
// Of that many elements; nullopt if they are no whole blocks, or have more than 2^64 - 1 bits.
[[nodiscard]] std::optional<std::uint64_t> bits_of(const DtypeRow& row,
                                                   std::uint64_t elements) noexcept;
[[nodiscard]] std::optional<Dtype> dtype_from_name(std::string_view name) noexcept;
// For numbers from outside.
[[nodiscard]] std::optional<Dtype> dtype_from_number(std::int32_t number) noexcept;

}  // namespace streamer::core::inline checkpoint
