// SPDX-License-Identifier: Apache-2.0
#include "auth/aws/sigv4.hpp"

#include "base/text.hpp"
#include "support/catch.hpp"

using namespace streamer::core;

namespace {

// AWS' documentation: "Authenticating Requests (AWS Signature Version 4)", S3 API reference.
constexpr std::string_view kS3Secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
// The SigV4 test suite, and the key derivation example.
constexpr std::string_view kSuiteSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

AwsCredentials keys(std::string_view id, std::string_view secret, std::string_view token = "") {
  return {.access_key_id = std::string(id),
          .secret_access_key = Secret(std::string(secret)),
          .session_token = Secret(std::string(token)),
          .expires = {},
          .source = "test"};
}

SystemTime at(std::string_view text) {
  return parse_iso(text).value();
}

HttpRequest s3_request(std::string path, std::string query = "") {
  HttpRequest request;
  request.origin = "https://examplebucket.s3.amazonaws.com";
  request.path = std::move(path);
  request.query = std::move(query);
  return request;
}

std::string authorization(const HttpRequest& request) {
  REQUIRE(request.headers.back().name == "Authorization");
  return request.headers.back().value;
}

std::string s3_signature(HttpRequest request, std::string_view token = "") {
  const SigV4Signer signer;
  signer.sign(request, keys("AKIAIOSFODNN7EXAMPLE", kS3Secret, token), {"us-east-1", "s3"},
              at("20130524T000000Z"));
  const std::string value = authorization(request);
  return value.substr(value.rfind('=') + 1);
}

std::string suite_signature(HttpRequest request) {
  const SigV4Signer signer;
  request.origin = "https://example.amazonaws.com";
  signer.sign(request, keys("AKIDEXAMPLE", kSuiteSecret), {"us-east-1", "service"},
              at("20150830T123600Z"));
  const std::string value = authorization(request);
  return value.substr(value.rfind('=') + 1);
}

std::string hash_of(const HttpRequest& request) {
  std::string names;
  return hex(as_text(sha256(canonical_request(request, request.path, kEmptySha256, &names))));
}

}  // namespace

TEST_CASE("the signing key is that of the published derivations") {
  CHECK(hex(as_text(signing_key(kS3Secret, "20130524", {"us-east-1", "s3"}))) ==
        "dbb893acc010964918f1fd433add87c70e8b0db6be30c1fbeafefa5ec6ba8378");
  CHECK(hex(as_text(signing_key(kSuiteSecret, "20150830", {"us-east-1", "iam"}))) ==
        "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
  CHECK(hex(as_text(signing_key(kSuiteSecret, "20120215", {"us-east-1", "iam"}))) ==
        "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d");
}

TEST_CASE("published S3 requests have the published signatures") {
  HttpRequest ranged = s3_request("/test.txt");
  ranged.headers = {{"Range", "bytes=0-9"}};
  CHECK(s3_signature(ranged) == "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
  CHECK(s3_signature(s3_request("/", "lifecycle=")) ==
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
  CHECK(s3_signature(s3_request("/", "max-keys=2&prefix=J")) ==
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");

  HttpRequest put = s3_request("/test%24file.text");
  put.method = "PUT";
  put.body = "Welcome to Amazon S3.";
  put.headers = {{"Date", "Fri, 24 May 2013 00:00:00 GMT"},
                 {"x-amz-storage-class", "REDUCED_REDUNDANCY"}};
  CHECK(s3_signature(put) == "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

TEST_CASE("the whole Authorization header is the published one") {
  HttpRequest request = s3_request("/test.txt");
  request.headers = {{"Range", "bytes=0-9"}};
  SigV4Signer().sign(request, keys("AKIAIOSFODNN7EXAMPLE", kS3Secret), {"us-east-1", "s3"},
                     at("20130524T000000Z"));
  CHECK(authorization(request) ==
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST_CASE("canonical requests have the published hashes") {
  HttpRequest ranged = s3_request("/test.txt");
  ranged.headers = {{"Range", "bytes=0-9"},
                    {"x-amz-content-sha256", std::string(kEmptySha256)},
                    {"x-amz-date", "20130524T000000Z"}};
  CHECK(hash_of(ranged) == "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972");
  HttpRequest list = s3_request("/", "max-keys=2&prefix=J");
  list.headers = {{"x-amz-content-sha256", std::string(kEmptySha256)},
                  {"x-amz-date", "20130524T000000Z"}};
  CHECK(hash_of(list) == "df57d21db20da04d7fa30298dd4488ba3a2b47ca3a489c74750e0f1e7df1b9b7");
}

// Derived with two independent implementations that pass the published vectors.
TEST_CASE("keys with every kind of character are signed as they are sent") {
  const std::string key = "a b/c+d%e?f#g&h=é中😀/..//x~_-.(1)*'!";
  const std::string path = "/" + percent_encode(key, "/");
  CHECK(path ==
        "/a%20b/c%2Bd%25e%3Ff%23g%26h%3D%C3%A9%E4%B8%AD%F0%9F%98%80/..//x~_-.%281%29%2A%27%21");
  CHECK(s3_signature(s3_request(path)) ==
        "666037b571316c60d00c14c3276bfe8d9e2158106c16fd67ae17fb9a73e09af7");
}

TEST_CASE("a session token is sent and signed") {
  HttpRequest request = s3_request("/test.txt");
  request.headers = {{"Range", "bytes=0-9"}};
  CHECK(s3_signature(request, "TOKEN+/=") ==
        "4acd5948961c128737d00b20003ca466e7a139077d528ff9aed18dbc84a07ad8");
}

TEST_CASE("a listing's query is canonical") {
  const std::string query =
      canonical_query({{"list-type", "2"},
                       {"prefix", "models/a b/"},
                       {"max-keys", "1000"},
                       {"encoding-type", "url"},
                       {"continuation-token", "1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM="}});
  CHECK(query ==
        "continuation-token=1ueGcxLPRx1Tr%2FXYExHnhbYLgveDs2J%2Fwm36Hy4vbOwM%3D&encoding-type=url&"
        "list-type=2&max-keys=1000&prefix=models%2Fa%20b%2F");
  CHECK(s3_signature(s3_request("/", query)) ==
        "3b04e5e274467c0ab53f53a95f099b40d25e67f3acfe8fc17f02d8e9a5f64f8c");
}

TEST_CASE("requests of the SigV4 test suite have its signatures") {
  CHECK(suite_signature({}) == "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
  HttpRequest utf8;
  utf8.path = "/ሴ";  // as the suite has it: not encoded before
  CHECK(suite_signature(utf8) ==
        "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85");
  HttpRequest unreserved;
  unreserved.path = "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  CHECK(suite_signature(unreserved) ==
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f");
}

TEST_CASE("headers that proxies change are not signed") {
  HttpRequest request = s3_request("/test.txt");
  request.headers = {{"Range", "bytes=0-9"},
                     {"Accept-Encoding", "identity"},
                     {"User-Agent", "x"},
                     {"Expect", "100-continue"}};
  CHECK(s3_signature(request) ==
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST_CASE("the cached key follows the day, the secret and the scope") {
  const SigV4Signer signer;
  const auto sign = [&](std::string_view secret, std::string_view time, std::string_view region) {
    HttpRequest request = s3_request("/k");
    signer.sign(request, keys("ID", secret), {std::string(region), "s3"}, at(time));
    return authorization(request);
  };
  const auto anew = [&](std::string_view secret, std::string_view time, std::string_view region) {
    HttpRequest request = s3_request("/k");
    SigV4Signer().sign(request, keys("ID", secret), {std::string(region), "s3"}, at(time));
    return authorization(request);
  };
  const char* const kDay = "20130524T235959Z";
  const char* const kNextDay = "20130525T000000Z";
  for (const char* secret : {"one", "two"}) {
    for (const char* time : {kDay, kNextDay}) {
      for (const char* region : {"us-east-1", "eu-west-1"}) {
        CHECK(sign(secret, time, region) == anew(secret, time, region));
      }
    }
  }
}

namespace {

// The signature for a payload hash that sign() does not use, put together from its steps.
std::string signature_of(const HttpRequest& request, std::string_view payload_hash,
                         std::string_view expected_hash = "") {
  std::string names;
  const std::string hash =
      hex(as_text(sha256(canonical_request(request, request.path, payload_hash, &names))));
  if (!expected_hash.empty()) CHECK(hash == expected_hash);
  const std::string to_sign =
      "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n" + hash;
  const Sha256Digest key = signing_key(kS3Secret, "20130524", {"us-east-1", "s3"});
  return hex(as_text(hmac_sha256(as_text(key), to_sign)));
}

}  // namespace

TEST_CASE("the steps reproduce the published pre-signed and chunked examples") {
  HttpRequest presigned = s3_request(
      "/test.txt", canonical_query({{"X-Amz-Algorithm", "AWS4-HMAC-SHA256"},
                                    {"X-Amz-Credential",
                                     "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"},
                                    {"X-Amz-Date", "20130524T000000Z"},
                                    {"X-Amz-Expires", "86400"},
                                    {"X-Amz-SignedHeaders", "host"}}));
  CHECK(signature_of(presigned, "UNSIGNED-PAYLOAD",
                     "3bfa292879f6447bbcda7001decf97f4a54dc650c8942174ae0a9121cf58ad04") ==
        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");

  HttpRequest chunked;
  chunked.method = "PUT";
  chunked.origin = "https://s3.amazonaws.com";
  chunked.path = "/examplebucket/chunkObject.txt";
  chunked.headers = {{"Content-Encoding", "aws-chunked"},
                     {"Content-Length", "66824"},
                     {"x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"},
                     {"x-amz-date", "20130524T000000Z"},
                     {"x-amz-decoded-content-length", "66560"},
                     {"x-amz-storage-class", "REDUCED_REDUNDANCY"}};
  CHECK(signature_of(chunked, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
                     "cee3fed04b70f867d036f722359b0b1f2f0e5dc0efadbc082b76c4c60e316455") ==
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9");
}

TEST_CASE("the steps reproduce the derived examples with unsigned payloads") {
  HttpRequest ranged = s3_request("/test.txt");
  ranged.headers = {{"Range", "bytes=0-9"},
                    {"x-amz-content-sha256", "UNSIGNED-PAYLOAD"},
                    {"x-amz-date", "20130524T000000Z"}};
  CHECK(signature_of(ranged, "UNSIGNED-PAYLOAD") ==
        "edacce68e5445863e1f916719fac26d3be9c1581fccd7878ade0879597fc0dc1");
  HttpRequest local;
  local.origin = "http://localhost:9000";
  local.path = "/bucket.with.dots/test.txt";
  local.headers = {{"If-Match", "\"abc\""},
                   {"Range", "bytes=0-9"},
                   {"x-amz-content-sha256", "UNSIGNED-PAYLOAD"},
                   {"x-amz-date", "20130524T000000Z"}};
  CHECK(signature_of(local, "UNSIGNED-PAYLOAD") ==
        "4b3448ee486dfb1a25e80fcbac7f7a7907fafaaf2a8deca137beb826489fea13");
}

TEST_CASE("more requests of the SigV4 test suite") {
  HttpRequest ordered;
  ordered.query = canonical_query({{"Param-3", "Value3"}, {"Param", "Value2"}, {"ሴ", "Value1"}});
  CHECK(suite_signature(ordered) ==
        "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac");
  HttpRequest slashes;
  slashes.path = "//example//";
  CHECK(suite_signature(slashes) ==
        "87cca117541a147f6df867677d98a7d80dff226d2bfca9e4ffa899665623c7e5");
  HttpRequest space;
  space.path = "/example space/";  // as the suite has it: not encoded before
  CHECK(suite_signature(space) ==
        "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741");
}
