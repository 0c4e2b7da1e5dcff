// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/tensor_table.hpp"

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
  by_name_ = NameIndex(size(), names());
  return by_name_.twice(names());
}

std::optional<std::uint32_t> TensorTable::find(std::string_view name) const noexcept {
  return by_name_.find(name, names());
}

}  // namespace streamer::core::inline checkpoint
