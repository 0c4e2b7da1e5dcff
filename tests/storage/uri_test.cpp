// SPDX-License-Identifier: Apache-2.0
#include "storage/uri.hpp"

#include "storage/store.hpp"
#include "support/catch.hpp"

using namespace streamer::core;
using namespace std::string_literals;

TEST_CASE("paths are taken as they are", "[uri]") {
  for (const char* path :
       {"/a/b", "a", "./x y", "/a%20b", "/a?b#c", "//a", "C:/x", "/\xff", "a:b"}) {
    const auto uri = parse_uri(path);
    REQUIRE(uri);
    CHECK(uri->scheme == "file");
    CHECK(uri->path == path);
  }
}

TEST_CASE("file URIs are percent-decoded once", "[uri]") {
  CHECK(parse_uri("file:///a%20b%2541")->path == "/a b%41");
  CHECK(parse_uri("FILE:///a")->path == "/a");
}

TEST_CASE("what is no usable URI is refused with the reason", "[uri]") {
  for (const std::string& text :
       {""s, "file://host/p"s, "file:/p"s, "file://"s, "file:///%"s, "file:///%4"s, "file:///%zz"s,
        "file:///a%00"s, "file:///a\nb"s, "/a\0b"s, "s3://b/\x01"s}) {
    CAPTURE(text);
    const auto uri = parse_uri(text);
    REQUIRE_FALSE(uri);
    CHECK(uri.error().kind() == ErrorKind::invalid_argument);
  }
}

TEST_CASE("a scheme without a store says which there are", "[uri]") {
  const auto uri = parse_uri("S3://bucket/key?x#y");
  REQUIRE(uri);
  CHECK(uri->scheme == "s3");
  const auto store = store_for(*uri);
  REQUIRE_FALSE(store);
  CHECK(store.error().kind() == ErrorKind::unsupported);
  CHECK_THAT(store.error().line(),
             Catch::Contains("s3://bucket/key?x#y") && Catch::Contains("file"));
}

TEST_CASE("a child is one component further", "[uri]") {
  CHECK(child({"file", "/a"}, "b").path == "/a/b");
  CHECK(child({"file", "/a/"}, "b").path == "/a/b");
}
