// SPDX-License-Identifier: Apache-2.0
#include "base/checksum.hpp"

#include <array>
#include <cstring>

#include "base/text.hpp"

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace streamer::core {

namespace {

// All three are reflected, begin with all ones and end inverted. Polynomials, reflected: IEEE
// 802.3, Castagnoli (RFC 3720 B.4), and NVM Express' (NVM command set specification 5.2.1.3.4).
constexpr std::uint32_t kCrc32 = 0xEDB88320;
constexpr std::uint32_t kCrc32c = 0x82F63B78;
constexpr std::uint64_t kCrc64Nvme = 0x9A6C9329AC4BC9B5;

template <typename Word>
using Tables = std::array<std::array<Word, 256>, 8>;

// Table k holds what a byte does that k more bytes follow: eight bytes are taken at once.
template <typename Word, Word Polynomial>
constexpr Tables<Word> make_tables() {
  Tables<Word> tables{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    Word crc = byte;
    for (int bit = 0; bit < 8; ++bit)
      crc = (crc & 1) != 0 ? (crc >> 1) ^ Polynomial : crc >> 1;
    tables[0][byte] = crc;
  }
  for (std::size_t k = 1; k < 8; ++k) {
    for (unsigned byte = 0; byte < 256; ++byte)
      tables[k][byte] = tables[0][tables[k - 1][byte] & 0xFF] ^ (tables[k - 1][byte] >> 8);
  }
  return tables;
}

template <typename Word, Word Polynomial>
constexpr Tables<Word> kTables = make_tables<Word, Polynomial>();

template <typename Word, Word Polynomial>
std::uint64_t update_by_tables(std::uint64_t crc, std::string_view bytes) noexcept {
  const Tables<Word>& tables = kTables<Word, Polynomial>;
  auto value = static_cast<Word>(~crc);
  while (bytes.size() >= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data(), 8);
    word ^= value;
    value = 0;
    for (std::size_t k = 0; k < 8; ++k)
      value ^= tables[7 - k][word >> (8 * k) & 0xFF];
    bytes.remove_prefix(8);
  }
  for (const char c : bytes)
    value = tables[0][(value ^ static_cast<unsigned char>(c)) & 0xFF] ^ (value >> 8);
  return static_cast<Word>(~value);
}

#if defined(__x86_64__)
// The processor's own instruction, which is Castagnoli's polynomial.
__attribute__((target("sse4.2"))) std::uint64_t update_by_instruction(
    std::uint64_t crc, std::string_view bytes) noexcept {
  std::uint64_t value = ~crc & 0xFFFFFFFF;
  while (bytes.size() >= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data(), 8);
    value = _mm_crc32_u64(value, word);
    bytes.remove_prefix(8);
  }
  for (const char c : bytes)
    value = _mm_crc32_u8(static_cast<unsigned>(value), static_cast<unsigned char>(c));
  return ~value & 0xFFFFFFFF;
}
#endif

std::uint64_t update_crc32c(std::uint64_t crc, std::string_view bytes) noexcept {
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("sse4.2") != 0;
  if (has_instruction) return update_by_instruction(crc, bytes);
#endif
  return update_by_tables<std::uint32_t, kCrc32c>(crc, bytes);
}

// Polynomials over GF(2), reflected: the highest bit is x^0.
template <typename Word>
Word multiply(Word a, Word b, Word polynomial) noexcept {
  Word product = 0;
  for (Word bit = Word{1} << (8 * sizeof(Word) - 1); bit != 0; bit >>= 1) {
    if ((a & bit) != 0) product ^= b;
    b = (b & 1) != 0 ? (b >> 1) ^ polynomial : b >> 1;
  }
  return product;
}

// The first part's CRC moves up by as many bits as the second has: times x^(8 * bytes).
template <typename Word>
std::uint64_t combine(std::uint64_t first, std::uint64_t second, std::uint64_t bytes,
                      Word polynomial) noexcept {
  constexpr Word kOne = Word{1} << (8 * sizeof(Word) - 1);
  Word power = kOne >> 8;  // x^8
  auto value = static_cast<Word>(first);
  for (; bytes != 0; bytes >>= 1) {
    if ((bytes & 1) != 0) value = multiply(power, value, polynomial);
    power = multiply(power, power, polynomial);
  }
  return value ^ static_cast<Word>(second);
}

}  // namespace

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
  if (kind == ChecksumKind::crc32c) return update_crc32c(crc, bytes);
  if (kind == ChecksumKind::crc32) return update_by_tables<std::uint32_t, kCrc32>(crc, bytes);
  return update_by_tables<std::uint64_t, kCrc64Nvme>(crc, bytes);
}

std::uint64_t crc_combine(ChecksumKind kind, std::uint64_t first, std::uint64_t second,
                          std::uint64_t second_bytes) noexcept {
  if (kind == ChecksumKind::crc32c) return combine(first, second, second_bytes, kCrc32c);
  if (kind == ChecksumKind::crc32) return combine(first, second, second_bytes, kCrc32);
  return combine(first, second, second_bytes, kCrc64Nvme);
}

std::string crc_bytes(ChecksumKind kind, std::uint64_t crc) {
  std::string bytes;
  for (std::size_t i = checksum_bytes(kind); i-- > 0;)
    bytes += static_cast<char>(crc >> (8 * i) & 0xFF);
  return bytes;
}

}  // namespace streamer::core
