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
    CHECK(uri->scheme() == "file");
    CHECK(uri->path() == path);
  }
}

TEST_CASE("file URIs are percent-decoded once", "[uri]") {
  CHECK(parse_uri("file:///a%20b%2541")->path() == "/a b%41");
  CHECK(parse_uri("FILE:///a")->path() == "/a");
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
  const auto uri = parse_uri("Ftp://bucket/key?x#y");
  REQUIRE(uri);
  CHECK(uri->scheme() == "ftp");
  const auto store = Stores({}).of(*uri);
  REQUIRE_FALSE(store);
  CHECK(store.error().kind() == ErrorKind::unsupported);
  CHECK_THAT(store.error().line(),
             Catch::Contains("ftp://bucket/key?x#y") && Catch::Contains("file"));
}

TEST_CASE("a child is one component further", "[uri]") {
  CHECK(child({"file", "/a"}, "b").path() == "/a/b");
  CHECK(child({"file", "/a/"}, "b").path() == "/a/b");
}

TEST_CASE("an object's key is literal", "[uri]") {
  const auto uri = parse_uri("S3A://bucket/a%20b?x#y//./z");
  REQUIRE(uri);
  CHECK(uri->text() == "s3://bucket/a%20b?x#y//./z");
  CHECK(uri->bucket() == "bucket");
  CHECK(uri->key() == "a%20b?x#y//./z");
  CHECK(parse_uri("s3://bucket")->key().empty());
  CHECK(parse_uri("s3://b/" + std::string(1024, 'k')));
}

TEST_CASE("URIs of objects that cannot be are refused", "[uri]") {
  for (const std::string& text :
       {"s3://"s, "s3:///k"s, "s3:/b/k"s, "s3://user:secret@b/k"s, "s3://b:80/k"s, "s3://b/\xff"s,
        "s3://b/" + std::string(1025, 'k'), "s3://b/a\tb"s, "s3://b/\x7f"s}) {
    CAPTURE(text);
    const auto uri = parse_uri(text);
    REQUIRE_FALSE(uri);
    CHECK(uri.error().kind() == ErrorKind::invalid_argument);
    CHECK(uri.error().line().find("secret") == std::string::npos);
  }
}

TEST_CASE("the folder of an object ends in a slash", "[uri]") {
  CHECK(folder_of(*parse_uri("s3://b/m/x.json")).text() == "s3://b/m/");
  CHECK(folder_of(*parse_uri("s3://b/x.json")).text() == "s3://b/");
  CHECK(folder_of(*parse_uri("x.json")).text() == ".");
}
