// SPDX-License-Identifier: Apache-2.0
#pragma once
// Recognizes files that were given as safetensors but are something else.

#include <cstddef>
#include <span>
#include <string_view>

namespace streamer::core::inline checkpoint {

// What a file is, if its first bytes tell, and what to do about it: "this is a NumPy file (.npy);
// ...". Empty: they do not tell, or look like safetensors. first: all bytes, or the first few
// hundred.
[[nodiscard]] std::string_view recognise_other_file(std::span<const std::byte> first) noexcept;

}  // namespace streamer::core::inline checkpoint
