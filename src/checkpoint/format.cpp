// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/format.hpp"

#include <algorithm>

#include "base/json.hpp"
#include "base/text.hpp"

namespace streamer::core::inline checkpoint {

namespace {

// It has no magic number: its rules decide.
bool recognises_safetensors(std::span<const std::byte>, std::uint64_t) {
  return true;
}

// Length and text of the header.
Result<FileHeader> read_safetensors(const OpeningFile& file, HeaderRules rules) {
  const auto about = [](Error error, ByteRange range) {
    return std::move(error).at(std::string(), range);
  };
  auto length = header_length(file.first, file.bytes, rules);
  if (!length) return about(std::move(length).error(), {0, std::min<std::uint64_t>(8, file.bytes)});
  JsonText text(*length);
  TRY(file.read(kHeaderLengthBytes, std::span<char>(text.data(), *length)));
  auto header = parse_header(text, file.bytes, rules);
  if (!header) return about(std::move(header).error(), {0, kHeaderLengthBytes + *length});
  return FileHeader{.tensors = std::move(header->tensors),
                    .metadata = std::move(header->metadata),
                    .text_bytes = *length,
                    .head_bytes = kHeaderLengthBytes + *length};
}

constexpr Format kFormats[] = {
    {"safetensors", ".safetensors", recognises_safetensors, read_safetensors},
};

}  // namespace

std::span<const Format> formats() noexcept {
  return kFormats;
}

const Format& format_of(std::span<const Format> among, std::span<const std::byte> first,
                        std::uint64_t file_bytes) noexcept {
  const auto found = std::find_if(among.begin(), among.end() - 1, [&](const Format& format) {
    return format.recognises(first, file_bytes);
  });
  return *found;
}

std::string_view format_suffix(std::string_view name) noexcept {
  for (const Format& format : kFormats) {
    const std::string_view suffix = format.suffix;
    if (name.size() > suffix.size() &&
        equal_ignoring_case(name.substr(name.size() - suffix.size()), suffix))
      return suffix;
  }
  return {};
}

}  // namespace streamer::core::inline checkpoint
