// SPDX-License-Identifier: Apache-2.0
#include "base/text.hpp"

#include "support/catch.hpp"

using namespace streamer::core;

TEST_CASE("a size may carry a unit of 1024 or of 1000", "[text]") {
  CHECK(parse_bytes("4096") == 4096);
  CHECK(parse_bytes("64KiB") == 65536);
  CHECK(parse_bytes(" 1.5 GiB ") == 1610612736);
  CHECK(parse_bytes("2gb") == 2000000000);
  CHECK(parse_bytes("0") == 0);
}

TEST_CASE("what is not a size is refused, not guessed", "[text]") {
  for (const char* text : {"", "-1", "x", "1 parsec", "1..5", "99999999999999999999", "1e400",
                           "nan", "20000000TiB", "."}) {
    CAPTURE(text);
    CHECK_FALSE(parse_bytes(text).has_value());
  }
}

TEST_CASE("a glob's star crosses slashes and dots", "[text]") {
  CHECK(glob_match("model.*.weight", "model.layers.0/x.weight"));
  CHECK(glob_match("*", ""));
  CHECK_FALSE(glob_match("a?c", "ac"));
  CHECK(glob_match("[ab]c", "bc"));
}
