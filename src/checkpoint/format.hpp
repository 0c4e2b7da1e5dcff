// SPDX-License-Identifier: Apache-2.0
#pragma once
// Formats of files with tensors: how one is recognised, and how its header is read. Everything
// after that (plans, slices, loads) knows only tensors. safetensors is the format that ships.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "checkpoint/safetensors_header.hpp"
#include "checkpoint/tensor_table.hpp"

namespace streamer::core::inline checkpoint {

// A file that is being opened.
struct OpeningFile {
  std::uint64_t bytes = 0;           // of all of it
  std::span<const std::byte> first;  // what came with the opening, from its beginning on
  // Bytes from an offset on, which may be in `first`.
  std::function<Result<void>(std::uint64_t offset, std::span<char> to)> read;
};

struct FileHeader {
  // Sorted by offset; offsets are in the file; object is 0. finish() was called.
  TensorTable tensors;
  std::vector<std::pair<std::string, std::string>> metadata;  // in the order of the file
  std::uint64_t text_bytes = 0;  // of the header itself, as programs are shown it
  std::uint64_t head_bytes = 0;  // of all that stands before the tensors' bytes
};

struct Format {
  std::string_view name;
  // Of file names, in lower case, with the dot. Folders are searched for them.
  std::string_view suffix;
  bool (*recognises)(std::span<const std::byte> first, std::uint64_t file_bytes);
  // Reads and checks the whole header. Errors about bytes of the file name them with at().
  Result<FileHeader> (*read_header)(const OpeningFile& file, HeaderRules rules);
};

// In the order in which they are tried. The last one accepts everything, so that its errors say
// what is wrong with a file of no known format.
[[nodiscard]] std::span<const Format> formats() noexcept;
// The one that recognises the file.
[[nodiscard]] const Format& format_of(std::span<const Format> among,
                                      std::span<const std::byte> first,
                                      std::uint64_t file_bytes) noexcept;
// The suffix of a format that a file's name ends in; empty if there is none.
[[nodiscard]] std::string_view format_suffix(std::string_view name) noexcept;
[[nodiscard]] inline bool has_format_suffix(std::string_view name) noexcept {
  return !format_suffix(name).empty();
}

}  // namespace streamer::core::inline checkpoint
