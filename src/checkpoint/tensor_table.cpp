// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/tensor_table.hpp"

#include <algorithm>
#include <numeric>

namespace streamer::core::inline checkpoint {

void TensorTable::add(const TensorView& tensor) {
  records_.push_back({.name_offset = names_.size(),
                      .object_offset = tensor.bytes.offset,
                      .bytes = tensor.bytes.size,
                      .shape_offset = shapes_.size(),
                      .name_size = static_cast<std::uint32_t>(tensor.name.size()),
                      .object = tensor.object,
                      .rank = static_cast<std::uint8_t>(tensor.shape.size()),
                      .dtype = tensor.dtype});
  names_.append(tensor.name);
  names_.push_back('\0');
  shapes_.insert(shapes_.end(), tensor.shape.begin(), tensor.shape.end());
  total_bytes_ += tensor.bytes.size;
}

std::optional<std::pair<std::uint32_t, std::uint32_t>> TensorTable::finish() {
  records_.shrink_to_fit();
  names_.shrink_to_fit();
  shapes_.shrink_to_fit();
  by_name_.resize(records_.size());
  std::iota(by_name_.begin(), by_name_.end(), 0U);
  const auto name = [this](std::uint32_t index) { return (*this)[index].name; };
  std::sort(by_name_.begin(), by_name_.end(), [&](std::uint32_t a, std::uint32_t b) {
    const int order = name(a).compare(name(b));
    return order != 0 ? order < 0 : a < b;
  });
  const auto twice =
      std::adjacent_find(by_name_.begin(), by_name_.end(),
                         [&](std::uint32_t a, std::uint32_t b) { return name(a) == name(b); });
  if (twice == by_name_.end()) return std::nullopt;
  return std::pair(*twice, *(twice + 1));
}

std::optional<std::uint32_t> TensorTable::find(std::string_view name) const noexcept {
  const auto found = std::lower_bound(by_name_.begin(), by_name_.end(), name,
                                      [this](std::uint32_t index, std::string_view wanted) {
                                        return (*this)[index].name < wanted;
                                      });
  if (found == by_name_.end() || (*this)[*found].name != name) return std::nullopt;
  return *found;
}

}  // namespace streamer::core::inline checkpoint
