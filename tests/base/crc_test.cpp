// SPDX-License-Identifier: Apache-2.0
// Every way to a CRC against the definition: one bit after the other.
#include "base/crc.hpp"

#include <random>
#include <string>

#include "support/catch.hpp"

using namespace streamer::core;

namespace {

constexpr std::uint64_t kSeed = 15;

template <typename Crc>
std::uint64_t by_definition(std::uint64_t crc, std::string_view bytes) {
  auto value = static_cast<typename Crc::Word>(~crc);
  for (const char c : bytes) {
    value ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit)
      value = (value & 1) != 0 ? (value >> 1) ^ Crc::kPolynomial : value >> 1;
  }
  return static_cast<typename Crc::Word>(~value);
}

std::string random_text(std::size_t size, std::mt19937_64& random) {
  std::string text(size, '\0');
  for (char& c : text)
    c = static_cast<char>(random());
  return text;
}

// All that this processor has.
std::vector<CrcMethod> methods() {
  std::vector<CrcMethod> all;
  for (const CrcMethod method : {CrcMethod::tables, CrcMethod::folding, CrcMethod::wide_folding}) {
    if (method <= best_crc_method()) all.push_back(method);
  }
  return all;
}

}  // namespace

TEMPLATE_TEST_CASE("a CRC of any length at any address is the same by every method", "[crc]", Crc32,
                   Crc32c, Crc64Nvme) {
  std::mt19937_64 random(kSeed);
  const std::string text = random_text(4096, random);
  for (std::size_t size = 0; size <= 1024; ++size) {
    for (int round = 0; round < 4; ++round) {
      const std::string_view bytes = std::string_view(text).substr(random() % 128, size);
      const auto before = static_cast<typename TestType::Word>(round == 0 ? 0 : random());
      const std::uint64_t expected = by_definition<TestType>(before, bytes);
      for (const CrcMethod method : methods()) {
        if (crc_update_by<TestType>(method, before, bytes) == expected) continue;
        CAPTURE(size, static_cast<int>(method), kSeed);
        FAIL("another CRC than by definition");
      }
    }
  }
  CHECK(methods().back() == best_crc_method());
}

TEMPLATE_TEST_CASE("a CRC in any pieces, one after the other or combined, is that of the whole",
                   "[crc]", Crc32, Crc32c, Crc64Nvme) {
  std::mt19937_64 random(kSeed + 1);
  const std::string text = random_text(200'000, random);
  const std::uint64_t whole = crc_update_by<TestType>(CrcMethod::tables, 0, text);
  REQUIRE(whole == by_definition<TestType>(0, text));
  for (int round = 0; round < 300; ++round) {
    const std::size_t longest = std::size_t{1} << (1 + random() % 17);
    std::uint64_t continued = 0;
    std::uint64_t combined = 0;
    for (std::string_view left = text; !left.empty();) {
      // A method of its own for each piece: what they hand on means the same.
      const CrcMethod method = methods()[random() % methods().size()];
      const std::string_view piece = left.substr(0, random() % longest + longest / 2);
      continued = crc_update_by<TestType>(method, continued, piece);
      combined = crc_combine_parts<TestType>(combined, crc_update_by<TestType>(method, 0, piece),
                                             piece.size());
      left.remove_prefix(piece.size());
    }
    CAPTURE(round, kSeed);
    REQUIRE(continued == whole);
    REQUIRE(combined == whole);
  }
}

TEMPLATE_TEST_CASE("zeros and ones change the sum of a folded message as they should", "[crc]",
                   Crc32, Crc32c, Crc64Nvme) {
  for (const char byte : {'\0', '\xff'}) {
    const std::string text(3000, byte);
    for (const std::size_t size : {15UL, 16UL, 127UL, 128UL, 255UL, 256UL, 257UL, 3000UL}) {
      for (const CrcMethod method : methods()) {
        CAPTURE(size, static_cast<int>(method));
        const std::string_view bytes = std::string_view(text).substr(0, size);
        CHECK(crc_update_by<TestType>(method, 0, bytes) == by_definition<TestType>(0, bytes));
      }
    }
  }
}
