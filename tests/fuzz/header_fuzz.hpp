// SPDX-License-Identifier: Apache-2.0
#pragma once
// What must hold for every header, whatever its bytes: shared by the fuzzer and by the test that
// replays its corpus.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "checkpoint/safetensors_header.hpp"

namespace streamer::test {

inline void must(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

// Whoever takes more takes no tensor that is not in the file, and all that the strict rules take.
inline void check_lenient_header(std::string_view header, std::uint64_t data_bytes,
                                 bool is_strictly_valid) {
  const std::uint64_t data_begin = core::kHeaderLengthBytes + header.size();
  const auto parsed = core::parse_header(core::JsonText(header), data_begin + data_bytes,
                                         core::HeaderRules::lenient);
  if (!parsed) return must(!is_strictly_valid, "lenient rules take what strict ones do");
  std::uint64_t end = data_begin;
  for (std::uint32_t i = 0; i < parsed->tensors.size(); ++i) {
    must(parsed->tensors[i].bytes.offset == end, "tensors follow each other");
    end = parsed->tensors[i].bytes.end();
  }
  must(end <= data_begin + data_bytes, "tensors end in the file");
}

// header is a JSON text; data_bytes of tensors are thought to stand behind it. True if it is valid.
inline bool check_header(std::string_view header, std::uint64_t data_bytes) {
  const std::uint64_t data_begin = core::kHeaderLengthBytes + header.size();
  const auto parsed = core::parse_header(core::JsonText(header), data_begin + data_bytes);
  check_lenient_header(header, data_bytes, parsed.has_value());
  if (!parsed) {
    must(parsed.error().kind() == core::ErrorKind::corrupt, "an invalid header is corrupt");
    must(parsed.error().message().find(": ") != std::string::npos, "the rule comes first");
    return false;
  }
  // Tensors tile the data: from its first byte to its last, without holes or overlaps.
  std::uint64_t end = data_begin;
  for (std::uint32_t i = 0; i < parsed->tensors.size(); ++i) {
    const core::TensorView tensor = parsed->tensors[i];
    must(tensor.bytes.offset == end, "tensors follow each other");
    end = tensor.bytes.end();
    std::uint64_t bits = core::dtype_row(tensor.dtype).bits;
    for (const std::uint64_t extent : tensor.shape)
      bits *= extent;
    must(bits == tensor.bytes.size * 8, "a tensor's bytes are its shape's");
    must(parsed->tensors.find(tensor.name) == i, "a tensor is found by its name");
  }
  must(end == data_begin + data_bytes, "tensors end where the file does");
  return true;
}

}  // namespace streamer::test
