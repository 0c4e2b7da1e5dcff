// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/dtype.hpp"

#include <array>

namespace streamer::core {

namespace {

// DLPack 1.1 type codes (dlpack.h, DLDataTypeCode).
constexpr std::uint8_t kInt = 0;
constexpr std::uint8_t kUint = 1;
constexpr std::uint8_t kFloat = 2;
constexpr std::uint8_t kBfloat = 4;
constexpr std::uint8_t kComplex = 5;
constexpr std::uint8_t kBool = 6;
constexpr std::uint8_t kFloat8E4m3fn = 10;
constexpr std::uint8_t kFloat8E4m3fnuz = 11;
constexpr std::uint8_t kFloat8E5m2 = 12;
constexpr std::uint8_t kFloat8E5m2fnuz = 13;
constexpr std::uint8_t kFloat8E8m0fnu = 14;

constexpr std::array<DtypeRow, 22> kRows = {{
    {Dtype::f4, "F4", 4, std::nullopt},
    {Dtype::f6_e2m3, "F6_E2M3", 6, std::nullopt},
    {Dtype::f6_e3m2, "F6_E3M2", 6, std::nullopt},
    {Dtype::boolean, "BOOL", 8, kBool},
    {Dtype::u8, "U8", 8, kUint},
    {Dtype::i8, "I8", 8, kInt},
    {Dtype::f8_e5m2, "F8_E5M2", 8, kFloat8E5m2},
    {Dtype::f8_e4m3, "F8_E4M3", 8, kFloat8E4m3fn},
    {Dtype::f8_e8m0, "F8_E8M0", 8, kFloat8E8m0fnu},
    {Dtype::f8_e4m3fnuz, "F8_E4M3FNUZ", 8, kFloat8E4m3fnuz},
    {Dtype::f8_e5m2fnuz, "F8_E5M2FNUZ", 8, kFloat8E5m2fnuz},
    {Dtype::i16, "I16", 16, kInt},
    {Dtype::u16, "U16", 16, kUint},
    {Dtype::f16, "F16", 16, kFloat},
    {Dtype::bf16, "BF16", 16, kBfloat},
    {Dtype::i32, "I32", 32, kInt},
    {Dtype::u32, "U32", 32, kUint},
    {Dtype::f32, "F32", 32, kFloat},
    {Dtype::c64, "C64", 64, kComplex},
    {Dtype::f64, "F64", 64, kFloat},
    {Dtype::i64, "I64", 64, kInt},
    {Dtype::u64, "U64", 64, kUint},
}};

constexpr bool rows_stand_at_their_number() {
  for (std::size_t i = 0; i < kRows.size(); ++i) {
    if (static_cast<std::size_t>(kRows[i].dtype) != i + 1) return false;
  }
  return true;
}
static_assert(rows_stand_at_their_number());

}  // namespace

const DtypeRow& dtype_row(Dtype dtype) noexcept {
  return kRows[static_cast<std::size_t>(dtype) - 1];
}

std::optional<Dtype> dtype_from_name(std::string_view name) noexcept {
  for (const DtypeRow& row : kRows) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

std::optional<Dtype> dtype_from_number(std::int32_t number) noexcept {
  if (number < 1 || static_cast<std::size_t>(number) > kRows.size()) return std::nullopt;
  return static_cast<Dtype>(number);
}

}  // namespace streamer::core
