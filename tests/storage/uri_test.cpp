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
             Catch::Contains("ftp://bucket/key?***") && Catch::Contains("file"));
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
       {"s3://"s, "s3:///k"s, "s3:/b/k"s, "S3:b/k"s, "gs:/b/k"s, "https:/h/k"s,
        "s3://user:secret@b/k"s, "s3://b:80/k"s, "s3://b/\xff"s, "s3://b/" + std::string(1025, 'k'),
        "s3://b/a\tb"s, "s3://b/\x7f"s}) {
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

TEST_CASE("URIs of Google and Azure, and their other names", "[uri]") {
  CHECK(parse_uri("gs://bucket/a b")->text() == "gs://bucket/a b");
  for (const char* const scheme : {"az", "azure", "adl", "abfs"}) {
    const auto uri = parse_uri(std::string(scheme) + "://container/a%20b");
    REQUIRE(uri);
    CHECK(uri->text() == "az://container/a%20b");
    CHECK(uri->host().empty());
  }
  CHECK(parse_uri("gcs://bucket/a b")->text() == "gs://bucket/a b");
  CHECK(parse_uri("wasbs://c@account.blob.core.windows.net/x")->host() ==
        "account.blob.core.windows.net");
  const auto hadoop = parse_uri("abfss://c@account.dfs.core.windows.net/models/é x");
  REQUIRE(hadoop);
  CHECK(hadoop->scheme() == "az");
  CHECK(hadoop->host() == "account.blob.core.windows.net");
  CHECK(hadoop->bucket() == "c");
  CHECK(hadoop->key() == "models/é x");
  CHECK(hadoop->text() == "abfss://c@account.dfs.core.windows.net/models/é x");
  CHECK(child(folder_of(*hadoop), "y").text() == "abfss://c@account.dfs.core.windows.net/models/y");
  // A token for Azure goes to no other host.
  for (const char* const bad :
       {"abfss://c@evil.example.com/x", "abfss://c@core.windows.net/x",
        "abfss://@a.blob.core.windows.net/x", "abfss://c@a.blob.core.windows.net.evil.org/x",
        "az://user:secret@c/x"}) {
    INFO(bad);
    const auto uri = parse_uri(bad);
    REQUIRE_FALSE(uri);
    CHECK(uri.error().line().find("secret") == std::string::npos);
  }
}

TEST_CASE("URLs of the clouds' own hosts are their objects", "[uri]") {
  struct Row {
    const char* url;
    const char* scheme;
    const char* host;
    const char* path;
  };
  for (const Row& row : std::vector<Row>{
           {"https://acc.blob.core.windows.net/c/a%20b%2Bc/%C3%A9", "az",
            "acc.blob.core.windows.net", "c/a b+c/é"},
           {"https://ACC.dfs.core.windows.net/c/x", "az", "acc.blob.core.windows.net", "c/x"},
           {"https://acc.z01.blob.storage.azure.net/c/x", "az", "acc.z01.blob.storage.azure.net",
            "c/x"},
           {"http://127.0.0.1:10000/devstoreaccount1/c/x", "az",
            "http://127.0.0.1:10000/devstoreaccount1", "c/x"},
           {"https://b.s3.eu-west-1.amazonaws.com/k%20k/l", "s3", "s3.eu-west-1.amazonaws.com",
            "b/k k/l"},
           {"https://b.c.s3.amazonaws.com/k", "s3", "s3.amazonaws.com", "b.c/k"},
           {"https://s3.cn-north-1.amazonaws.com.cn/b/k", "s3", "s3.cn-north-1.amazonaws.com.cn",
            "b/k"},
           {"https://b.s3.dualstack.eu-west-1.amazonaws.com/k", "s3",
            "s3.dualstack.eu-west-1.amazonaws.com", "b/k"},
           {"https://acct.r2.cloudflarestorage.com/b/k", "s3", "acct.r2.cloudflarestorage.com",
            "b/k"},
           {"https://storage.googleapis.com/b/o%23/p", "gs", "storage.googleapis.com", "b/o#/p"},
           {"https://b.storage.googleapis.com/o/p", "gs", "storage.googleapis.com", "b/o/p"},
           {"https://huggingface.co/org/m/resolve/main/x%20y", "https", "",
            "huggingface.co/org/m/resolve/main/x%20y"},
           {"https://evil-blob.core.windows.net.example.com/c/x", "https", "",
            "evil-blob.core.windows.net.example.com/c/x"},
           {"https://storage.googleapis.com/storage/v1/b/x", "https", "",
            "storage.googleapis.com/storage/v1/b/x"},
           {"http://b.s3.amazonaws.com/k", "http", "", "b.s3.amazonaws.com/k"},
       }) {
    INFO(row.url);
    const auto uri = parse_uri(row.url);
    if (!uri) FAIL(uri.error().line());
    CHECK(uri->scheme() == row.scheme);
    CHECK(uri->host() == row.host);
    CHECK(uri->path() == row.path);
    // What is shown is the same object, and so are its neighbours.
    const auto again = parse_uri(uri->text());
    REQUIRE(again);
    CHECK(again->text() == uri->text());
    CHECK(again->path() == uri->path());
    CHECK(again->host() == uri->host());
    const auto neighbour = parse_uri(child(folder_of(*uri), "new name").text());
    REQUIRE(neighbour);
    CHECK(neighbour->path() == child(folder_of(*uri), "new name").path());
  }
}

TEST_CASE("what signs a URL is kept and never shown", "[uri]") {
  const auto sas = parse_uri("https://acc.blob.core.windows.net/c/x?sv=1&sig=canary%2B");
  REQUIRE(sas);
  CHECK(sas->scheme() == "az");
  CHECK(sas->query() == "sv=1&sig=canary%2B");
  CHECK(sas->text() == "https://acc.blob.core.windows.net/c/x");
  CHECK(folder_of(*sas).query() == sas->query());
  // Signed by others: asked for as it stands.
  for (const char* const url : {"https://b.s3.amazonaws.com/k?X-Amz-Signature=canary",
                                "https://storage.googleapis.com/b/o?x-goog-signature=canary",
                                "https://hub.example.com/x?token=canary"}) {
    INFO(url);
    const auto uri = parse_uri(url);
    REQUIRE(uri);
    CHECK(uri->scheme() == "https");
    CHECK(uri->query().find("canary") != std::string_view::npos);
    CHECK(uri->text().find("canary") == std::string::npos);
  }
  for (const char* const bad :
       {"https://b.s3.amazonaws.com/k?versionId=canary",
        "https://acc.blob.core.windows.net/c/x?snapshot=canary", "https://u:canary@h/x",
        "https://acc.blob.core.windows.net/c/%zz?sig=canary", "https://h/x?sig=canary#y",
        "https://acc.blob.core.windows.net/?sig=canary", "https://h:0/?canary"}) {
    INFO(bad);
    const auto uri = parse_uri(bad);
    REQUIRE_FALSE(uri);
    CHECK(uri.error().line().find("canary") == std::string::npos);
  }
}
