// SPDX-License-Identifier: Apache-2.0
#pragma once
// Safetensors files as text and bytes, put together by hand: knows nothing of the parser under
// test.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace streamer::test {

// Eight bytes with the length, the header, and data_bytes zero bytes.
inline std::string safetensors_file(std::string_view header, std::size_t data_bytes = 0) {
  std::string file;
  for (unsigned i = 0; i < 8; ++i) {
    file += static_cast<char>(static_cast<std::uint64_t>(header.size()) >> (8 * i) & 0xFF);
  }
  file += header;
  file.append(data_bytes, '\0');
  return file;
}

inline std::filesystem::path write_text(const std::filesystem::path& path, std::string_view text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary)
      .write(text.data(), static_cast<std::streamsize>(text.size()));
  return path;
}

}  // namespace streamer::test
