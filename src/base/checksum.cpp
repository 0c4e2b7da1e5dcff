// SPDX-License-Identifier: Apache-2.0
#include "base/checksum.hpp"

#include "base/crc.hpp"
#include "base/text.hpp"

namespace streamer::core::inline base {

std::string_view checksum_name(ChecksumKind kind) noexcept {
  switch (kind) {
    case ChecksumKind::crc32:
      return "CRC32";
    case ChecksumKind::crc32c:
      return "CRC32C";
    case ChecksumKind::crc64nvme:
      return "CRC64NVME";
    case ChecksumKind::sha256:
      return "SHA256";
  }
  return "unknown";
}

std::optional<ChecksumKind> checksum_from_name(std::string_view name) noexcept {
  for (const ChecksumKind kind :
       {ChecksumKind::crc32, ChecksumKind::crc32c, ChecksumKind::crc64nvme, ChecksumKind::sha256}) {
    if (equal_ignoring_case(name, checksum_name(kind))) return kind;
  }
  return std::nullopt;
}

std::size_t checksum_bytes(ChecksumKind kind) noexcept {
  switch (kind) {
    case ChecksumKind::crc32:
    case ChecksumKind::crc32c:
      return 4;
    case ChecksumKind::crc64nvme:
      return 8;
    case ChecksumKind::sha256:
      return 32;
  }
  return 0;
}

std::uint64_t crc_update(ChecksumKind kind, std::uint64_t crc, std::string_view bytes) noexcept {
  const CrcMethod method = best_crc_method();
  if (kind == ChecksumKind::crc32c) return crc_update_by<Crc32c>(method, crc, bytes);
  if (kind == ChecksumKind::crc32) return crc_update_by<Crc32>(method, crc, bytes);
  return crc_update_by<Crc64Nvme>(method, crc, bytes);
}

std::uint64_t crc_combine(ChecksumKind kind, std::uint64_t first, std::uint64_t second,
                          std::uint64_t second_bytes) noexcept {
  if (kind == ChecksumKind::crc32c) return crc_combine_parts<Crc32c>(first, second, second_bytes);
  if (kind == ChecksumKind::crc32) return crc_combine_parts<Crc32>(first, second, second_bytes);
  return crc_combine_parts<Crc64Nvme>(first, second, second_bytes);
}

std::string crc_bytes(ChecksumKind kind, std::uint64_t crc) {
  std::string bytes;
  for (std::size_t i = checksum_bytes(kind); i-- > 0;)
    bytes += static_cast<char>(crc >> (8 * i) & 0xFF);
  return bytes;
}

}  // namespace streamer::core::inline base
