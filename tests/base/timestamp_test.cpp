// SPDX-License-Identifier: Apache-2.0
#include "base/timestamp.hpp"

#include "support/catch.hpp"

using namespace streamer::core;

namespace {

const SystemTime kMay2013{std::chrono::seconds(1369353600)};  // 2013-05-24T00:00:00Z

}  // namespace

TEST_CASE("times are written as each service wants them") {
  CHECK(format_basic_iso(kMay2013) == "20130524T000000Z");
  CHECK(format_iso(kMay2013) == "2013-05-24T00:00:00Z");
  CHECK(format_http_date(kMay2013) == "Fri, 24 May 2013 00:00:00 GMT");
}

TEST_CASE("times are read in every form that services send") {
  for (const char* const text :
       {"20130524T000000Z", "2013-05-24T00:00:00Z", "2013-05-24T00:00:00", " 2013-05-24T00:00:00Z ",
        "2013-05-24 00:00:00Z", "2013-05-24T00:00:00.999Z", "2013-05-24T02:00:00+02:00",
        "2013-05-23T19:00:00-0500", "2013-05-24T00:00:00+00:00"}) {
    INFO(text);
    CHECK(parse_iso(text) == kMay2013);
  }
  CHECK(parse_http_date("Fri, 24 May 2013 00:00:00 GMT") == kMay2013);
}

TEST_CASE("a time too far away is the latest that there is") {
  CHECK(parse_iso("9999-12-31T23:59:59Z") == latest_time());
  CHECK(parse_iso("2199-01-01T00:00:00Z") < latest_time());
  CHECK_FALSE(parse_iso("0132-05-24T00:00:00Z"));
}

TEST_CASE("what is no time is none") {
  for (const char* const text :
       {"", "2013", "2013-05-24", "2013-13-24T00:00:00Z", "2013-02-30T00:00:00Z",
        "2013-05-24T24:00:00Z", "2013-05-24T00:00:00X", "2013-05-24T00:00:00Z+",
        "x013-05-24T00:00:00Z", "2013-05-24T00:00:00.Z"}) {
    INFO(text);
    CHECK_FALSE(parse_iso(text));
  }
  for (const char* const text : {"", "Fri, 24 May 2013 00:00:00", "24 May 2013 00:00:00 GMT",
                                 "Fri, 24 Mai 2013 00:00:00 GMT"}) {
    CHECK_FALSE(parse_http_date(text));
  }
}
