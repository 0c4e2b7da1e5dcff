// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/dtype.hpp"

#include <array>

#include "base/bytes.hpp"

namespace streamer::core::inline checkpoint {

namespace {

constexpr std::optional<std::uint8_t> dlpack_code(int code) {
  return code < 0 ? std::nullopt : std::optional(static_cast<std::uint8_t>(code));
}

constexpr auto kRows = std::to_array<DtypeRow>({
#define STREAMER_DTYPE(name, number, text, bits, elements, dlpack) \
  {Dtype::name, text, bits, elements, dlpack_code(dlpack)},
#include "streamer/dtypes.inc"
#undef STREAMER_DTYPE
});

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

std::optional<std::uint64_t> bits_of(const DtypeRow& row, std::uint64_t elements) noexcept {
  if (elements % row.elements != 0) return std::nullopt;
  return checked_multiply(elements / row.elements, row.bits);
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

}  // namespace streamer::core::inline checkpoint
