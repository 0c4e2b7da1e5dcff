// SPDX-License-Identifier: Apache-2.0
#pragma once
// The one table of safetensors dtypes.

#include <cstdint>
#include <optional>
#include <string_view>

namespace streamer::core {

// The numbers are those of STREAMER_DTYPE_* in streamer.h.
enum class Dtype : std::uint8_t {
  f4 = 1,
  f6_e2m3,
  f6_e3m2,
  boolean,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  f8_e8m0,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  c64,
  f64,
  i64,
  u64,
};

struct DtypeRow {
  Dtype dtype;
  const char* name;  // as safetensors spells it
  std::uint32_t bits;
  // DLPack 1.1 type code of one element, or nullopt where it has none or the element is no whole
  // byte.
  std::optional<std::uint8_t> dlpack_code;
};

[[nodiscard]] const DtypeRow& dtype_row(Dtype dtype) noexcept;
[[nodiscard]] std::optional<Dtype> dtype_from_name(std::string_view name) noexcept;
// For numbers from outside.
[[nodiscard]] std::optional<Dtype> dtype_from_number(std::int32_t number) noexcept;

}  // namespace streamer::core
