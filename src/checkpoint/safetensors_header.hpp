// SPDX-License-Identifier: Apache-2.0
#pragma once
// The head of a safetensors file: eight bytes with the length of a JSON text, then the text.
// Checked by every rule of the reference implementation (safetensors/src/tensor.rs), in its order
// and with its names for the errors, and a few more: see parse_header().

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "base/json.hpp"
#include "base/result.hpp"
#include "checkpoint/tensor_table.hpp"

namespace streamer::core::inline checkpoint {

inline constexpr std::uint64_t kHeaderLengthBytes = 8;
// The reference refuses longer headers.
inline constexpr std::uint64_t kLongestHeaderBytes = 100'000'000;
inline constexpr std::uint64_t kLongestLenientHeaderBytes = 100 * kMiB;

// strict is the reference. lenient accepts what common Python loaders accept, and no more: if a key
// appears twice, the last one counts; __metadata__ may contain anything (values that are not
// strings are left out); bytes may follow the last tensor; and the text may have 100 MiB.
enum class HeaderRules { strict, lenient };

struct SafetensorsHeader {
  // Sorted by offset; offsets are in the file; object is 0. finish() was called.
  TensorTable tensors;
  // In the order of the file.
  std::vector<std::pair<std::string, std::string>> metadata;
};

// How long the JSON text is. first: the file's first bytes, at least 8 if it has them. Rules, in
// this order: HeaderTooSmall, HeaderTooLarge, InvalidHeaderLength.
Result<std::uint64_t> header_length(std::span<const std::byte> first, std::uint64_t file_bytes,
                                    HeaderRules rules = HeaderRules::strict);

// text is the JSON alone. Rules, in this order: InvalidHeader (UTF-8),
// InvalidHeaderDeserialization, DuplicateKey; then for each tensor by offset InvalidOffset,
// ValidationOverflow, MisalignedSlice, TensorInvalidInfo; then MetadataIncompleteBuffer. Stricter
// than the reference: no name twice, a tensor is an object and its dtype a string, at most 64
// dimensions, names of at most 64 KiB, at most 10 million tensors. Allocates no more than a few
// times the text.
Result<SafetensorsHeader> parse_header(const JsonText& text, std::uint64_t file_bytes,
                                       HeaderRules rules = HeaderRules::strict);

}  // namespace streamer::core::inline checkpoint
