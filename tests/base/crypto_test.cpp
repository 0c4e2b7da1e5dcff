// SPDX-License-Identifier: Apache-2.0
#include "base/crypto.hpp"

#include "base/secret.hpp"
#include "support/catch.hpp"

using namespace streamer::core;

TEST_CASE("hashes are those of the published examples") {
  // FIPS 180-2 B.1, RFC 4231 test case 2, RFC 3174 test 1, RFC 1321 A.5.
  CHECK(hex(as_text(sha256("abc"))) ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(hex(as_text(hmac_sha256("Jefe", "what do ya want for nothing?"))) ==
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  CHECK(sha1_hex("abc") == "a9993e364706816aba3e25717850c26c9cd0d89d");
  CHECK(hex(md5_bytes("abc")) == "900150983cd24fb0d6963f7d28e17f72");
}

TEST_CASE("base64 is read back as it was written") {
  // RFC 4648 10.
  CHECK(base64_encode("") == "");
  CHECK(base64_encode("f") == "Zg==");
  CHECK(base64_encode("fo") == "Zm8=");
  CHECK(base64_encode("foobar") == "Zm9vYmFy");
  for (const std::string text : {"", "f", "fo", "foo", "foob", "fooba", "foobar"}) {
    CHECK(base64_decode(base64_encode(text)) == text);
  }
  for (const char* const bad : {"Zg", "Zg=", "Zg=a", "====", "Z===", "Zm9v\n", "Zm9*"}) {
    CHECK_FALSE(base64_decode(bad));
  }
}

TEST_CASE("a secret that moved away leaves nothing behind") {
  std::string text = "sixteen-letters!";
  Secret first(std::move(text));
  Secret second(std::move(first));
  CHECK(second.reveal() == "sixteen-letters!");
  CHECK(first.empty());  // NOLINT(bugprone-use-after-move): that is the claim
  CHECK(second == Secret("sixteen-letters!"));
}
