// SPDX-License-Identifier: Apache-2.0
// What S3-compatible stores do otherwise than AWS: listings, answers, names of hosts.
#include "capi/abi/all_settings.hpp"
#include "http/range_check.hpp"
#include "storage/s3/dialect.hpp"
#include "storage/s3/known_stores.hpp"
#include "storage/store.hpp"
#include "support/store_world.hpp"

using namespace streamer::core;
using namespace streamer::test;

namespace {

Result<std::optional<Page>> page_of(const std::string& content, const char* folder = "s3://b/m/",
                                    const char* root = "ListBucketResult") {
  return read_list_bucket_result(*parse_uri(folder), fmt::format("<{0}>{1}</{0}>", root, content));
}

std::string row_of(const std::string& name) {
  return fmt::format("<Contents><Key>{}</Key><Size>1</Size></Contents>", name);
}

constexpr const char* kUrl = "<EncodingType>url</EncodingType>";

std::string only_key_of(const std::string& content, const char* folder = "s3://b/m/") {
  const auto page = page_of(content, folder);
  REQUIRE(page);
  REQUIRE((*page)->entries.size() == 1);
  return std::string((*page)->entries[0].uri.key());
}

std::string parameter(const Parameters& parameters, std::string_view name) {
  for (const auto& [found, value] : parameters) {
    if (found == name) return value;
  }
  return "(none)";
}

HttpAnswer answer_with(std::vector<HttpHeader> headers, std::string body = "") {
  return {{.status = 403, .headers = std::move(headers)}, std::move(body)};
}

}  // namespace

TEST_CASE("an ETag is in quotes, whether or not the listing has them", "[s3]") {
  const auto etag = [](const std::string& text) {
    const auto page =
        page_of("<Contents><Key>m/a</Key><Size>1</Size><ETag>" + text + "</ETag></Contents>");
    REQUIRE(page);
    return (*page)->entries.at(0).etag;
  };
  CHECK(etag("&quot;1a&quot;") == "\"1a\"");
  CHECK(etag("1a") == "\"1a\"");
  CHECK(etag(" 1a-2\n") == "\"1a-2\"");
  CHECK(etag("W/&quot;1a&quot;") == "W/\"1a\"");
  CHECK(etag("").empty());
}

TEST_CASE("keys are decoded as they are encoded, whatever the page claims", "[s3]") {
  // As AWS and MinIO encode them: in forms' way.
  CHECK(only_key_of(kUrl + row_of("m/a+b%2Bc")) == "m/a b+c");
  CHECK(only_key_of("<EncodingType>URL</EncodingType>" + row_of("m/a+b")) == "m/a b");
  // As Ceph and moto do; a plus stays a plus.
  CHECK(only_key_of(kUrl + row_of("m/a%20b+c")) == "m/a b+c");
  // Claimed, but not done.
  CHECK(only_key_of(kUrl + row_of("m/a b%2Fc+d")) == "m/a b%2Fc+d");
  CHECK(only_key_of(kUrl + row_of("m/\xC3\xA9+%41")) == "m/\xC3\xA9+%41");
  // Ignored, as s3rver and versitygw do.
  CHECK(only_key_of(row_of("m/a+b%2Fc")) == "m/a+b%2Fc");
  // Done without a word: only the prefix that was asked for shows it.
  CHECK(only_key_of(row_of("m%2Fa%20b")) == "m/a b");
  CHECK(only_key_of(row_of("a%20b/c%2Bd"), "s3://b/a b/") == "a b/c+d");
  CHECK(only_key_of(kUrl + row_of("a+b/c"), "s3://b/a+b/") == "a+b/c");
  CHECK(only_key_of(kUrl + row_of("a+b/c"), "s3://b/a b/") == "a b/c");
}

TEST_CASE("listings with empty elements, more prefixes in one, or another root are read", "[s3]") {
  const auto page = page_of(
      "<Contents/><Contents><Key/></Contents><CommonPrefixes/>"
      "<CommonPrefixes><Prefix>m/x/</Prefix><Prefix>m/y/</Prefix></CommonPrefixes>" +
          row_of("m/a"),
      "s3://b/m/", "ListBucketV2Result");
  REQUIRE(page);
  std::vector<std::string> keys;
  for (const Entry& entry : (*page)->entries)
    keys.emplace_back(entry.uri.key());
  CHECK(keys == std::vector<std::string>{"m/x/", "m/y/", "m/a"});
  CHECK((*page)->next.empty());
  // Neither KeyCount nor IsTruncated nor anything else.
  CHECK((*page_of(""))->entries.empty());
  // A store that ignores the prefix would bring in what is not asked for.
  CHECK_THAT(page_of(row_of("other/a")).error().message(), Catch::Contains("other/a"));
}

TEST_CASE("listings go on behind a token, a marker or the last key", "[s3]") {
  const auto next = [](const std::string& content) {
    const auto page = page_of(content);
    REQUIRE(page);
    return list_parameters(*parse_uri("s3://b/m/"), ListDepth::all, 1000, (*page)->next);
  };
  const std::string more = "<IsTruncated>true</IsTruncated>";
  const auto by_token = next(more + "<NextContinuationToken>t/1</NextContinuationToken>");
  CHECK(parameter(by_token, "continuation-token") == "t/1");
  CHECK(parameter(by_token, "marker") == "(none)");
  CHECK(parameter(next("<NextContinuationToken>t</NextContinuationToken>"), "continuation-token") ==
        "t");
  const auto by_marker = next(kUrl + more + row_of("m/a") + "<NextMarker>m/a%2Bz</NextMarker>");
  CHECK(parameter(by_marker, "marker") == "m/a+z");
  CHECK(parameter(by_marker, "start-after") == "m/a+z");
  CHECK(parameter(by_marker, "continuation-token") == "(none)");
  const auto by_key = next(more + row_of("m/a") + row_of("m/b+%41") +
                           "<CommonPrefixes><Prefix>m/b/</Prefix></CommonPrefixes>");
  CHECK(parameter(by_key, "marker") == "m/b/");
}

TEST_CASE("a store that answers as ListObjects does is listed to the end", "[s3]") {
  std::atomic<int> turn{0};
  WireServer server([&](const WireRequest& request, Wire& wire) {
    const int now = turn++;
    const std::string marker = fmt::format("marker=m%2F{:03}", now - 1);
    CHECK((now == 0 || request.query.find(marker) != std::string::npos));
    const std::string body =
        fmt::format("<ListBucketResult><Marker/><IsTruncated>{}</IsTruncated>{}</ListBucketResult>",
                    now < 4, row_of(fmt::format("m/{:03}", now)));
    // In pieces, without a length.
    wire.send(
        fmt::format("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n"
                    "\r\n",
                    body.size(), body));
  });
  Settings settings;
  REQUIRE(streamer::capi::set_by_name(settings, "s3_endpoint", server.url()));
  REQUIRE(streamer::capi::set_by_name(settings, "s3_credentials", "anonymous"));
  Stores stores(settings);
  const auto uri = parse_uri("s3://bucket/m/");
  const auto listed = (*stores.of(*uri))->list(*uri, ListDepth::all);
  REQUIRE(listed);
  CHECK(listed->size() == 5);
}

TEST_CASE("an empty object is one, also where a range of it is answered", "[s3]") {
  for (const char* const head :
       {"206 Partial Content\r\nContent-Range: bytes 0-0/0\r\nContent-Length: 1",
        "206 Partial Content\r\nContent-Range: bytes 0--1/0\r\nContent-Length: 0",
        "416 Range Not Satisfiable\r\nContent-Range: bytes */0\r\nContent-Length: 0",
        "416 Range Not Satisfiable\r\nContent-Length: 0", "200 OK\r\nContent-Length: 0"}) {
    INFO(head);
    WireServer server([&](const WireRequest&, Wire& wire) {
      wire.send(fmt::format("HTTP/1.1 {}\r\nETag: \"e\"\r\n\r\n", head));
    });
    Settings settings;
    REQUIRE(streamer::capi::set_by_name(settings, "s3_endpoint", server.url()));
    REQUIRE(streamer::capi::set_by_name(settings, "s3_credentials", "anonymous"));
    Stores stores(settings);
    const auto uri = parse_uri("s3://bucket/empty");
    const auto opened = (*stores.of(*uri))->open(*uri, 100);
    REQUIRE(opened);
    CHECK(opened->object.size == 0);
    CHECK(opened->object.etag == "\"e\"");
  }
}

TEST_CASE("an object is opened where the range of one byte is taken for none", "[s3]") {
  for (const std::uint64_t bytes : {0U, 1U, 3U}) {
    WireServer server([&](const WireRequest& request, Wire& wire) {
      const bool is_whole = request.header("range") == "bytes=0-0";
      const std::string last = is_whole ? "4" : bytes == 3 ? "2" : "1";
      wire.send(
          fmt::format("HTTP/1.1 206 OK\r\nETag: \"e\"\r\nContent-Range: bytes 0-{}/5\r\n"
                      "Transfer-Encoding: chunked\r\n\r\n{}\r\n0\r\n\r\n",
                      last,
                      is_whole     ? "5\r\nabcde"
                      : bytes == 3 ? "3\r\nabc"
                                   : "2\r\nab"));
    });
    Settings settings;
    REQUIRE(streamer::capi::set_by_name(settings, "s3_endpoint", server.url()));
    REQUIRE(streamer::capi::set_by_name(settings, "s3_credentials", "anonymous"));
    Stores stores(settings);
    const auto uri = parse_uri("s3://bucket/a");
    const auto opened = (*stores.of(*uri))->open(*uri, bytes);
    REQUIRE(opened);
    CHECK(opened->object.size == 5);
    CHECK(opened->first.size() == bytes);
  }
}

TEST_CASE("known stores are recognised by their hosts, headers, ids and pages", "[s3]") {
  const auto name = [](std::string_view host, const HttpAnswer& answer) -> std::string {
    const KnownStore* const store = recognise_store(host, answer);
    return store == nullptr ? "" : std::string(store->name);
  };
  const HttpAnswer plain = answer_with({{"server", "nginx"}});
  CHECK(name("account.eu.r2.cloudflarestorage.com", plain) == "Cloudflare R2");
  CHECK(name("bucket.oss-cn-hangzhou.aliyuncs.com", plain) == "Alibaba OSS");
  CHECK(name("b-125.cos.ap-beijing.myqcloud.com", plain) == "Tencent COS");
  CHECK(name("ns.compat.objectstorage.us-phoenix-1.oraclecloud.com", plain) ==
        "Oracle OCI Object Storage");
  CHECK(name("s3.eu-central-003.backblazeb2.com", plain) == "Backblaze B2");
  CHECK(name("xr2.cloudflarestorage.com", plain).empty());
  CHECK(name("s3.example.com", plain).empty());
  const auto by_header = [&](const char* header, const char* value) {
    return name("127.0.0.1", answer_with({{"server", "proxy"}, {header, value}}));
  };
  CHECK(by_header("server", "MinIO") == "MinIO");
  CHECK(by_header("server", "minio/RELEASE") == "MinIO");
  CHECK(by_header("server", "Ceph Object Gateway (squid)") == "Ceph (radosgw)");
  CHECK(by_header("x-amz-request-id", "tx00000a1-0065-default") == "Ceph (radosgw)");
  CHECK(by_header("x-oss-request-id", "1") == "Alibaba OSS");
  CHECK(by_header("x-cos-request-id", "1") == "Tencent COS");
  CHECK(by_header("server", "WasabiS3/7.2") == "Wasabi");
  CHECK(by_header("server", "VERSITYGW") == "versitygw");
  CHECK(by_header("x-amz-request-id", "3Q94F5BB8Q299A0R").empty());
  CHECK(name("127.0.0.1", answer_with({}, "<Owner><DisplayName>S3rver</DisplayName></Owner>")) ==
        "s3rver");
}

TEST_CASE("a known store's host says its region and its addressing", "[s3]") {
  CHECK(region_of_known_host("s3.us-west-004.backblazeb2.com") == "us-west-004");
  CHECK(region_of_known_host("oss-cn-beijing-internal.aliyuncs.com") == "cn-beijing");
  CHECK(region_of_known_host("s3.oss-ap-southeast-1.aliyuncs.com") == "ap-southeast-1");
  CHECK(region_of_known_host("nyc3.digitaloceanspaces.com") == "nyc3");
  CHECK(region_of_known_host("storage.eu-north1.nebius.cloud") == "eu-north1");
  CHECK(region_of_known_host("a.r2.cloudflarestorage.com") == "auto");
  CHECK(region_of_known_host("cwobject.com").empty());
  CHECK(region_of_known_host("s3.example.com").empty());
  const auto origin = [](const char* endpoint) {
    S3EndpointRules rules;
    rules.custom = *parse_endpoint(endpoint);
    return s3_target(rules, "bucket", "x")->origin;
  };
  CHECK(origin("http://cwlota.com") == "http://bucket.cwlota.com");
  CHECK(origin("https://t3.storage.dev") == "https://bucket.t3.storage.dev");
  CHECK(origin("https://cos.ap-beijing.myqcloud.com") ==
        "https://bucket.cos.ap-beijing.myqcloud.com");
  CHECK(origin("https://a.r2.cloudflarestorage.com") == "https://a.r2.cloudflarestorage.com");
  for (const KnownStore& store : known_stores()) {
    INFO(store.name);
    for (const std::string_view text :
         {store.name, store.region, store.checksums, store.quirks, store.advice, store.tried})
      CHECK_FALSE(text.empty());
  }
}
