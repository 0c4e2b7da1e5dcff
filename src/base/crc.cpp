// SPDX-License-Identifier: Apache-2.0
#include "base/crc.hpp"

#include <array>
#include <cstddef>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#include <sys/auxv.h>
#endif

namespace streamer::core::inline base {

namespace {

// ---- Polynomials over GF(2), reflected: the highest bit is x^0 ----

template <typename Word>
constexpr Word kOne = Word{1} << (8 * sizeof(Word) - 1);

template <typename Word>
constexpr Word times_x(Word value, Word polynomial) noexcept {
  return (value & 1) != 0 ? (value >> 1) ^ polynomial : value >> 1;
}

template <typename Word>
constexpr Word multiply(Word a, Word b, Word polynomial) noexcept {
  Word product = 0;
  for (Word bit = kOne<Word>; bit != 0; bit >>= 1) {
    if ((a & bit) != 0) product ^= b;
    b = times_x(b, polynomial);
  }
  return product;
}

// x^exponent modulo the polynomial.
template <typename Word>
constexpr Word power_of_x(std::uint64_t exponent, Word polynomial) noexcept {
  Word result = kOne<Word>;
  Word square = kOne<Word> >> 1;
  for (; exponent != 0; exponent >>= 1) {
    if ((exponent & 1) != 0) result = multiply(square, result, polynomial);
    square = multiply(square, square, polynomial);
  }
  return result;
}

// ---- Tables ----

template <typename Word>
using Tables = std::array<std::array<Word, 256>, 8>;

// Table k holds what a byte does that k more bytes follow: eight bytes are taken at once.
template <typename Crc>
constexpr Tables<typename Crc::Word> make_tables() {
  using Word = typename Crc::Word;
  Tables<Word> tables{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    Word crc = byte;
    for (int bit = 0; bit < 8; ++bit)
      crc = times_x(crc, Crc::kPolynomial);
    tables[0][byte] = crc;
  }
  for (std::size_t k = 1; k < 8; ++k) {
    for (unsigned byte = 0; byte < 256; ++byte)
      tables[k][byte] = tables[0][tables[k - 1][byte] & 0xFF] ^ (tables[k - 1][byte] >> 8);
  }
  return tables;
}

template <typename Crc>
constexpr Tables<typename Crc::Word> kTables = make_tables<Crc>();

// Without the inversions before and after.
template <typename Crc>
std::uint64_t take_by_tables(std::uint64_t crc, std::string_view bytes) noexcept {
  using Word = typename Crc::Word;
  const Tables<Word>& tables = kTables<Crc>;
  auto value = static_cast<Word>(crc);
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
  return value;
}

// ---- Folding ----
//
// Gopal and others, "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction"
// (Intel, 2009). Sixteen bytes of the message, H * x^64 + L, may be replaced by any polynomial that
// leaves the same remainder and be added to bytes that stand `distance` bits further on:
// H * (x^(distance + 64) mod P) + L * (x^distance mod P). Reflected, a product of two halves comes
// out times x, hence one less in each exponent. What is left of the message in the end is sixteen
// bytes, whose remainder the tables find: no other constants are needed.

constexpr std::size_t kFoldBytes = 16;
constexpr std::size_t kLanes = 8;  // enough to hide the multiplication's latency

struct FoldConstants {
  std::uint64_t high = 0;  // for the first eight bytes in memory
  std::uint64_t low = 0;
};

template <typename Crc>
constexpr FoldConstants fold_constants(std::uint64_t distance_bytes) noexcept {
  constexpr unsigned kShift = 64 - 8 * sizeof(typename Crc::Word);
  const auto power = [](std::uint64_t exponent) {
    return std::uint64_t{power_of_x(exponent, Crc::kPolynomial)} << kShift;
  };
  return {power(8 * distance_bytes + 63), power(8 * distance_bytes - 1)};
}

template <typename Crc, std::uint64_t DistanceBytes>
constexpr FoldConstants kFold = fold_constants<Crc>(DistanceBytes);

#if defined(__x86_64__)

#define STREAMER_FOLDING __attribute__((target("pclmul,sse2")))
#define STREAMER_WIDE_FOLDING __attribute__((target("vpclmulqdq,pclmul,avx2")))
using Lane = __m128i;

STREAMER_FOLDING inline Lane load_lane(const char* from) noexcept {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}
STREAMER_FOLDING inline Lane make_lane(std::uint64_t first, std::uint64_t second) noexcept {
  return _mm_set_epi64x(static_cast<long long>(second), static_cast<long long>(first));
}
STREAMER_FOLDING inline Lane add_lanes(Lane a, Lane b) noexcept {
  return _mm_xor_si128(a, b);
}
STREAMER_FOLDING inline Lane fold(Lane lane, Lane constants, Lane next) noexcept {
  return _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(lane, constants, 0x00), next),
                       _mm_clmulepi64_si128(lane, constants, 0x11));
}

#elif defined(__aarch64__)

// PMULL comes with the AES instructions. GCC and Clang before 16 spell it in ways of their own.
#if defined(__clang__)
#define STREAMER_FOLDING __attribute__((target("aes")))
#else
#define STREAMER_FOLDING __attribute__((target("+crypto")))
#endif
using Lane = uint64x2_t;

STREAMER_FOLDING inline Lane load_lane(const char* from) noexcept {
  return vreinterpretq_u64_u8(vld1q_u8(reinterpret_cast<const std::uint8_t*>(from)));
}
STREAMER_FOLDING inline Lane make_lane(std::uint64_t first, std::uint64_t second) noexcept {
  return vcombine_u64(vcreate_u64(first), vcreate_u64(second));
}
STREAMER_FOLDING inline Lane add_lanes(Lane a, Lane b) noexcept {
  return veorq_u64(a, b);
}
STREAMER_FOLDING inline Lane fold(Lane lane, Lane constants, Lane next) noexcept {
  const auto first = vmull_p64(static_cast<poly64_t>(vgetq_lane_u64(lane, 0)),
                               static_cast<poly64_t>(vgetq_lane_u64(constants, 0)));
  const auto second = vmull_high_p64(vreinterpretq_p64_u64(lane), vreinterpretq_p64_u64(constants));
  return veorq_u64(veorq_u64(vreinterpretq_u64_p128(first), next), vreinterpretq_u64_p128(second));
}

#endif

#if defined(STREAMER_FOLDING)

// The remainder of all: of the lane, sixteen bytes at a time, and of what is left by tables.
template <typename Crc>
STREAMER_FOLDING std::uint64_t finish_folding(Lane lane, std::string_view bytes) noexcept {
  const Lane constants = make_lane(kFold<Crc, kFoldBytes>.high, kFold<Crc, kFoldBytes>.low);
  for (; bytes.size() >= kFoldBytes; bytes.remove_prefix(kFoldBytes))
    lane = fold(lane, constants, load_lane(bytes.data()));
  std::array<char, kFoldBytes> rest;
  std::memcpy(rest.data(), &lane, kFoldBytes);
  return take_by_tables<Crc>(take_by_tables<Crc>(0, {rest.data(), rest.size()}), bytes);
}

template <typename Crc>
STREAMER_FOLDING std::uint64_t take_by_folding(std::uint64_t crc, std::string_view bytes) noexcept {
  constexpr std::size_t kStep = kLanes * kFoldBytes;
  if (bytes.size() < 2 * kFoldBytes) return take_by_tables<Crc>(crc, bytes);
  const Lane first = add_lanes(load_lane(bytes.data()), make_lane(crc, 0));
  if (bytes.size() < kStep) return finish_folding<Crc>(first, bytes.substr(kFoldBytes));
  Lane lanes[kLanes];
  lanes[0] = first;
  for (std::size_t i = 1; i < kLanes; ++i)
    lanes[i] = load_lane(bytes.data() + i * kFoldBytes);
  bytes.remove_prefix(kStep);
  const Lane far = make_lane(kFold<Crc, kStep>.high, kFold<Crc, kStep>.low);
  for (; bytes.size() >= kStep; bytes.remove_prefix(kStep)) {
#pragma GCC unroll 8
    for (std::size_t i = 0; i < kLanes; ++i)
      lanes[i] = fold(lanes[i], far, load_lane(bytes.data() + i * kFoldBytes));
  }
  const Lane near = make_lane(kFold<Crc, kFoldBytes>.high, kFold<Crc, kFoldBytes>.low);
  for (std::size_t i = 1; i < kLanes; ++i)
    lanes[i] = fold(lanes[i - 1], near, lanes[i]);
  return finish_folding<Crc>(lanes[kLanes - 1], bytes);
}

#endif

#if defined(STREAMER_WIDE_FOLDING)

STREAMER_WIDE_FOLDING inline __m256i load_two_lanes(const char* from) noexcept {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

// The same with two lanes in each register.
template <typename Crc>
STREAMER_WIDE_FOLDING std::uint64_t take_by_wide_folding(std::uint64_t crc,
                                                         std::string_view bytes) noexcept {
  constexpr std::size_t kStep = 2 * kLanes * kFoldBytes;
  if (bytes.size() < kStep) return take_by_folding<Crc>(crc, bytes);
  __m256i lanes[kLanes];
  for (std::size_t i = 0; i < kLanes; ++i)
    lanes[i] = load_two_lanes(bytes.data() + 2 * i * kFoldBytes);
  lanes[0] = _mm256_xor_si256(lanes[0], _mm256_set_epi64x(0, 0, 0, static_cast<long long>(crc)));
  bytes.remove_prefix(kStep);
  const __m256i far =
      _mm256_broadcastsi128_si256(make_lane(kFold<Crc, kStep>.high, kFold<Crc, kStep>.low));
  for (; bytes.size() >= kStep; bytes.remove_prefix(kStep)) {
#pragma GCC unroll 8
    for (std::size_t i = 0; i < kLanes; ++i) {
      const __m256i products = _mm256_xor_si256(_mm256_clmulepi64_epi128(lanes[i], far, 0x00),
                                                _mm256_clmulepi64_epi128(lanes[i], far, 0x11));
      lanes[i] = _mm256_xor_si256(products, load_two_lanes(bytes.data() + 2 * i * kFoldBytes));
    }
  }
  const Lane near = make_lane(kFold<Crc, kFoldBytes>.high, kFold<Crc, kFoldBytes>.low);
  Lane lane = _mm256_castsi256_si128(lanes[0]);
  lane = fold(lane, near, _mm256_extracti128_si256(lanes[0], 1));
  for (std::size_t i = 1; i < kLanes; ++i) {
    lane = fold(lane, near, _mm256_castsi256_si128(lanes[i]));
    lane = fold(lane, near, _mm256_extracti128_si256(lanes[i], 1));
  }
  return finish_folding<Crc>(lane, bytes);
}

#endif

CrcMethod find_best_method() noexcept {
#if defined(__x86_64__)
  // "avx2" says, too, that the system keeps the wide registers.
  if (__builtin_cpu_supports("pclmul") == 0) return CrcMethod::tables;
  const bool is_wide =
      __builtin_cpu_supports("vpclmulqdq") != 0 && __builtin_cpu_supports("avx2") != 0;
  return is_wide ? CrcMethod::wide_folding : CrcMethod::folding;
#elif defined(__aarch64__)
  constexpr unsigned long kHasPmull = 1UL << 4;  // HWCAP_PMULL of asm/hwcap.h
  return (::getauxval(AT_HWCAP) & kHasPmull) != 0 ? CrcMethod::folding : CrcMethod::tables;
#else
  return CrcMethod::tables;
#endif
}

}  // namespace

CrcMethod best_crc_method() noexcept {
  static const CrcMethod best = find_best_method();
  return best;
}

template <typename Crc>
std::uint64_t crc_update_by(CrcMethod method, std::uint64_t crc, std::string_view bytes) noexcept {
  using Word = typename Crc::Word;
  const auto begin = static_cast<Word>(~crc);
  std::uint64_t end = 0;
  switch (method) {
#if defined(STREAMER_WIDE_FOLDING)
    case CrcMethod::wide_folding:
      end = take_by_wide_folding<Crc>(begin, bytes);
      break;
#endif
#if defined(STREAMER_FOLDING)
    case CrcMethod::folding:
      end = take_by_folding<Crc>(begin, bytes);
      break;
#endif
    default:
      end = take_by_tables<Crc>(begin, bytes);
  }
  return static_cast<Word>(~end);
}

// The first part's CRC moves up by as many bits as the second has.
template <typename Crc>
std::uint64_t crc_combine_parts(std::uint64_t first, std::uint64_t second,
                                std::uint64_t second_bytes) noexcept {
  using Word = typename Crc::Word;
  // x^(8 * second_bytes), by squares that begin with x^8: the exponent in bits may not fit.
  Word square = kOne<Word> >> 8;
  auto value = static_cast<Word>(first);
  for (; second_bytes != 0; second_bytes >>= 1) {
    if ((second_bytes & 1) != 0) value = multiply(square, value, Crc::kPolynomial);
    square = multiply(square, square, Crc::kPolynomial);
  }
  return value ^ static_cast<Word>(second);
}

template std::uint64_t crc_update_by<Crc32>(CrcMethod, std::uint64_t, std::string_view) noexcept;
template std::uint64_t crc_update_by<Crc32c>(CrcMethod, std::uint64_t, std::string_view) noexcept;
template std::uint64_t crc_update_by<Crc64Nvme>(CrcMethod, std::uint64_t,
                                                std::string_view) noexcept;
template std::uint64_t crc_combine_parts<Crc32>(std::uint64_t, std::uint64_t,
                                                std::uint64_t) noexcept;
template std::uint64_t crc_combine_parts<Crc32c>(std::uint64_t, std::uint64_t,
                                                 std::uint64_t) noexcept;
template std::uint64_t crc_combine_parts<Crc64Nvme>(std::uint64_t, std::uint64_t,
                                                    std::uint64_t) noexcept;

}  // namespace streamer::core::inline base
