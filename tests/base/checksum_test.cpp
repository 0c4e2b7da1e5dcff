// SPDX-License-Identifier: Apache-2.0
#include "base/checksum.hpp"

#include <random>

#include "base/crypto.hpp"
#include "support/catch.hpp"

using namespace streamer::core;

namespace {

constexpr ChecksumKind kCrcs[] = {ChecksumKind::crc32, ChecksumKind::crc32c,
                                  ChecksumKind::crc64nvme};

std::string hex_of(ChecksumKind kind, std::string_view text) {
  return hex(crc_bytes(kind, crc_update(kind, 0, text)));
}

}  // namespace

TEST_CASE("CRCs have their published check values") {
  // Catalogue of parametrised CRC algorithms: CRC-32/ISO-HDLC, CRC-32/ISCSI, CRC-64/NVME.
  CHECK(hex_of(ChecksumKind::crc32, "123456789") == "cbf43926");
  CHECK(hex_of(ChecksumKind::crc32c, "123456789") == "e3069283");
  CHECK(hex_of(ChecksumKind::crc64nvme, "123456789") == "ae8b14860a799888");
  // RFC 3720 B.4: 32 bytes of zeros, of ones.
  CHECK(hex_of(ChecksumKind::crc32c, std::string(32, '\0')) == "8a9136aa");
  CHECK(hex_of(ChecksumKind::crc32c, std::string(32, '\xff')) == "62a8ab43");
}

TEST_CASE("CRCs of parts combine to that of the whole, however it is cut") {
  std::mt19937_64 engine(5);
  std::string text(5000, '\0');
  for (char& c : text)
    c = static_cast<char>(engine());
  for (const ChecksumKind kind : kCrcs) {
    const std::uint64_t whole = crc_update(kind, 0, text);
    for (int round = 0; round < 200; ++round) {
      const std::size_t cut = engine() % (text.size() + 1);
      const std::string_view first = std::string_view(text).substr(0, cut);
      const std::string_view second = std::string_view(text).substr(cut);
      CHECK(crc_combine(kind, crc_update(kind, 0, first), crc_update(kind, 0, second),
                        second.size()) == whole);
      CHECK(crc_update(kind, crc_update(kind, 0, first), second) == whole);
    }
  }
}

TEST_CASE("checksums are found by name") {
  for (const ChecksumKind kind : kCrcs)
    CHECK(checksum_from_name(checksum_name(kind)) == kind);
  CHECK(checksum_from_name("sha256") == ChecksumKind::sha256);
  CHECK_FALSE(checksum_from_name("md5"));
}
