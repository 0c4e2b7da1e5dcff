// SPDX-License-Identifier: Apache-2.0
#pragma once
// Checksums of whole files: CRCs, of which those of parts can be combined, and SHA-256, which goes
// from front to back.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace streamer::core::inline base {

enum class ChecksumKind : std::uint8_t { crc32, crc32c, crc64nvme, sha256 };

// "CRC32C". Static storage.
[[nodiscard]] std::string_view checksum_name(ChecksumKind kind) noexcept;
// By its name in any case.
[[nodiscard]] std::optional<ChecksumKind> checksum_from_name(std::string_view name) noexcept;
// The length of its value, in bytes.
[[nodiscard]] std::size_t checksum_bytes(ChecksumKind kind) noexcept;

// The CRC of the bytes that `crc` stands for, followed by bytes. 0 stands for no bytes. Not for
// sha256.
[[nodiscard]] std::uint64_t crc_update(ChecksumKind kind, std::uint64_t crc,
                                       std::string_view bytes) noexcept;
// The CRC of two parts from those of each; second_bytes is the length of the second.
[[nodiscard]] std::uint64_t crc_combine(ChecksumKind kind, std::uint64_t first,
                                        std::uint64_t second, std::uint64_t second_bytes) noexcept;
// As stores and manifests write it: the highest byte first.
[[nodiscard]] std::string crc_bytes(ChecksumKind kind, std::uint64_t crc);

}  // namespace streamer::core::inline base
