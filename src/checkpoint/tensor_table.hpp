// SPDX-License-Identifier: Apache-2.0
#pragma once
// The tensors of all objects of a checkpoint, merged. Compact: 100,000 tensors cost under 100 bytes
// each beside their names.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "checkpoint/dtype.hpp"
#include "checkpoint/name_index.hpp"

namespace streamer::core::inline checkpoint {

// Borrowed from the table. name is followed by a NUL byte that is not part of it.
struct TensorView {
  std::string_view name;
  Dtype dtype{};
  std::span<const std::uint64_t> shape;
  std::uint32_t object = 0;
  ByteRange bytes;  // in the object
};

class TensorTable {
 public:
  // Copies name and shape. Tensors must come in storage order: by object, then offset, then name.
  void add(const TensorView& tensor);
  // Once, after the last add(): makes find() work. Returns the first tensor whose name another has,
  // and that one, if there are such.
  std::optional<std::pair<std::uint32_t, std::uint32_t>> finish();

  [[nodiscard]] std::uint32_t size() const noexcept {
    return static_cast<std::uint32_t>(records_.size());
  }
  // index below size().
  [[nodiscard]] TensorView operator[](std::uint32_t index) const noexcept {
    const Record& record = records_[index];
    return {.name = {names_.data() + record.name_offset, record.name_size},
            .dtype = record.dtype,
            .shape = {shapes_.data() + record.shape_offset, record.rank},
            .object = record.object,
            .bytes = {record.object_offset, record.bytes}};
  }
  [[nodiscard]] std::optional<std::uint32_t> find(std::string_view name) const noexcept;
  [[nodiscard]] std::uint64_t total_bytes() const noexcept { return total_bytes_; }

 private:
  struct Record {
    std::uint64_t name_offset;
    std::uint64_t object_offset;
    std::uint64_t bytes;
    std::uint64_t shape_offset;
    std::uint32_t name_size;
    std::uint32_t object;
    std::uint8_t rank;
    Dtype dtype;
  };

  [[nodiscard]] auto names() const noexcept {
    return [this](std::uint32_t index) { return (*this)[index].name; };
  }

  std::vector<Record> records_;
  std::string names_;  // each NUL-terminated
  std::vector<std::uint64_t> shapes_;
  NameIndex by_name_;
  std::uint64_t total_bytes_ = 0;
};

}  // namespace streamer::core::inline checkpoint
