// SPDX-License-Identifier: Apache-2.0
// Listing, against a server that answers what a test wants.
#include "capi/abi/all_settings.hpp"
#include "storage/cloud_hosts.hpp"
#include "storage/s3/config.hpp"
#include "storage/s3/endpoint.hpp"
#include "storage/store.hpp"
#include "support/raw_checkpoint.hpp"
#include "support/safetensors_text.hpp"
#include "support/store_world.hpp"

using namespace streamer::core;
using namespace streamer::test;

namespace {

std::string page(const std::string& content) {
  const std::string body =
      "<?xml version=\"1.0\"?><ListBucketResult "
      "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">" +
      content + "</ListBucketResult>";
  return fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", body.size(), body);
}

std::string key(const std::string& name, int size = 1) {
  return fmt::format("<Contents><Key>{}</Key><Size>{}</Size></Contents>", name, size);
}

// Lists s3://bucket/m/ on a server that answers each request by `answer`, which gets its number.
Result<std::vector<Entry>> list(const std::function<void(const WireRequest&, Wire&, int)>& answer,
                                ListDepth depth = ListDepth::children) {
  std::atomic<int> turn{0};
  WireServer server([&](const WireRequest& request, Wire& wire) { answer(request, wire, turn++); });
  Settings settings;
  for (const auto& [name, value] :
       std::vector<std::pair<std::string, std::string>>{{"s3_endpoint", server.url()},
                                                        {"s3_credentials", "keys:ID:secret"},
                                                        {"stall_timeout_ms", "500"}}) {
    REQUIRE(streamer::capi::set_by_name(settings, name, value));
  }
  Stores stores(settings);
  const auto uri = parse_uri("s3://bucket/m/");
  return (*stores.of(*uri))->list(*uri, depth);
}

Result<std::vector<Entry>> list_of(const std::string& content) {
  return list([&](const WireRequest&, Wire& wire, int) { wire.send(page(content)); });
}

}  // namespace

TEST_CASE("a listing is decoded if the store encoded it, and only then", "[s3]") {
  const auto encoded = list_of("<EncodingType>url</EncodingType>" + key("m/a+b%2Fc%0A%2B%25") +
                               "<CommonPrefixes><Prefix>m/sub+folder/</Prefix></CommonPrefixes>");
  REQUIRE(encoded);
  REQUIRE(encoded->size() == 2);
  CHECK((*encoded)[0].uri.text() == "s3://bucket/m/a b/c\n+%");
  CHECK((*encoded)[1].uri.text() == "s3://bucket/m/sub folder/");
  CHECK((*encoded)[1].is_folder);
  const auto literal = list_of(key("m/a+b%2Fc"));
  REQUIRE(literal);
  CHECK((*literal)[0].uri.text() == "s3://bucket/m/a+b%2Fc");
}

TEST_CASE("pages follow each other by their tokens", "[s3]") {
  const auto listed = list([](const WireRequest& request, Wire& wire, int turn) {
    CHECK((turn == 0) == (request.query.find("continuation-token") == std::string::npos));
    // The second page is empty and still not the last.
    if (turn == 0) {
      wire.send(page(key("m/b", 7) + "<IsTruncated>true</IsTruncated>"
                                     "<NextContinuationToken>a/b+c=</NextContinuationToken>"));
    } else if (turn == 1) {
      CHECK(request.query.find("continuation-token=a%2Fb%2Bc%3D") != std::string::npos);
      wire.send(
          page("<IsTruncated>true</IsTruncated>"
               "<NextContinuationToken>2</NextContinuationToken>"));
    } else {
      wire.send(page(key("m/a") + key("m/", 0) + "<Unknown><X/></Unknown>"));
    }
  });
  REQUIRE(listed);
  // Sorted, and without the marker of the folder itself.
  REQUIRE(listed->size() == 2);
  CHECK((*listed)[0].uri.key() == "m/a");
  CHECK((*listed)[1].size == 7);
}

TEST_CASE("N28 listings that would never end, or cannot be, are errors", "[s3]") {
  const auto loop = list([](const WireRequest&, Wire& wire, int) {
    wire.send(
        page("<IsTruncated>true</IsTruncated>"
             "<NextContinuationToken>same</NextContinuationToken>"));
  });
  REQUIRE_FALSE(loop);
  CHECK_THAT(loop.error().message(), Catch::Contains("token"));
  CHECK_THAT(list_of("<IsTruncated>true</IsTruncated>").error().message(),
             Catch::Contains("how to ask"));
  CHECK_THAT(list_of(key("m/a") + key("m/a")).error().message(), Catch::Contains("twice"));
  CHECK_THAT(list_of("<Contents><Key>m/a</Key></Contents>").error().message(),
             Catch::Contains("size"));
  for (const std::string& body :
       {std::string("<!DOCTYPE x [<!ENTITY a \"aaaa\">]><ListBucketResult/>"),
        std::string("<html>hello</html>"), std::string("not xml"), std::string()}) {
    const auto listed = list([&](const WireRequest&, Wire& wire, int) {
      wire.send(fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", body.size(), body));
    });
    REQUIRE_FALSE(listed);
    CHECK(listed.error().kind() == ErrorKind::io);
    CHECK(listed.error().fields().attempts == 3);
  }
}

TEST_CASE("N10 a page that is too long is asked for once, and the reason is said", "[s3]") {
  // Made before it is asked for: a busy machine takes longer for it than the store may be silent.
  const std::string answer =
      fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 33 * kMiB) +
      std::string(33 * kMiB, ' ');
  std::atomic<int> asked{0};
  const auto listed = list([&](const WireRequest&, Wire& wire, int) {
    ++asked;
    wire.send(answer);
  });
  REQUIRE_FALSE(listed);
  CHECK(listed.error().kind() == ErrorKind::unsupported);
  CHECK_THAT(listed.error().message(), Catch::Contains("max-keys"));
  CHECK(asked == 1);
}

TEST_CASE("N28 a hundred thousand keys", "[s3]") {
  constexpr int kPages = 100;
  const auto listed = list([](const WireRequest&, Wire& wire, int turn) {
    std::string content;
    for (int i = 0; i < 1000; ++i)
      content += key(fmt::format("m/{:06}", turn * 1000 + i));
    if (turn + 1 < kPages) {
      content += fmt::format(
          "<IsTruncated>true</IsTruncated>"
          "<NextContinuationToken>{}</NextContinuationToken>",
          turn);
    }
    wire.send(page(content));
  });
  REQUIRE(listed);
  CHECK(listed->size() == kPages * 1000);
}

TEST_CASE("N09 a 200 that holds an error is tried again, or is the error", "[s3]") {
  const auto error = [](const std::string& code) {
    const std::string body = "<Error><Code>" + code + "</Code></Error>";
    return fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", body.size(), body);
  };
  const auto recovered = list([&](const WireRequest&, Wire& wire, int turn) {
    wire.send(turn == 0 ? error("InternalError") : page(key("m/a")));
  });
  REQUIRE(recovered);
  CHECK(recovered->size() == 1);
  const auto refused =
      list([&](const WireRequest&, Wire& wire, int) { wire.send(error("AccessDenied")); });
  REQUIRE_FALSE(refused);
  CHECK(refused.error().kind() == ErrorKind::permission_denied);
  CHECK(refused.error().fields().service_code == "AccessDenied");
}

TEST_CASE("each refusal has its kind", "[s3]") {
  struct Row {
    int status;
    std::string code;
    ErrorKind kind;
  };
  for (const Row& row : std::vector<Row>{
           {404, "NoSuchBucket", ErrorKind::not_found},
           {403, "AccessDenied", ErrorKind::permission_denied},
           {403, "InvalidAccessKeyId", ErrorKind::permission_denied},
           {403, "SignatureDoesNotMatch", ErrorKind::permission_denied},
           {400, "ExpiredToken", ErrorKind::credentials_expired},
           {403, "RequestTimeTooSkewed", ErrorKind::clock_skew},
           {400, "AuthorizationHeaderMalformed", ErrorKind::invalid_argument},
           {301, "PermanentRedirect", ErrorKind::invalid_argument},
           {403, "InvalidObjectState", ErrorKind::permission_denied},
           {400, "KMS.DisabledException", ErrorKind::permission_denied},
           {501, "NotImplemented", ErrorKind::unsupported},
           {400, "InvalidArgument", ErrorKind::invalid_argument},
       }) {
    INFO(row.code);
    const auto listed = list([&](const WireRequest&, Wire& wire, int) {
      const std::string body = "<Error><Code>" + row.code + "</Code></Error>";
      wire.send(fmt::format("HTTP/1.1 {} X\r\nDate: {}\r\nContent-Length: {}\r\n\r\n{}", row.status,
                            format_http_date(std::chrono::system_clock::now()), body.size(), body));
    });
    REQUIRE_FALSE(listed);
    CHECK(listed.error().kind() == row.kind);
    CHECK(listed.error().fields().service_code == row.code);
    CHECK(listed.error().fields().http_status == row.status);
  }
}

// Rules of botocore's endpoint tests, as protocols describe them.
TEST_CASE("buckets are asked where they are", "[s3]") {
  const auto origin = [](const S3EndpointRules& rules, const char* bucket, const char* region) {
    const auto target = s3_target(rules, bucket, region);
    REQUIRE(target);
    return target->origin + target->base_path;
  };
  S3EndpointRules aws;
  CHECK(origin(aws, "bucket", "eu-west-1") == "https://bucket.s3.eu-west-1.amazonaws.com");
  CHECK(origin(aws, "a.b", "eu-west-1") == "https://s3.eu-west-1.amazonaws.com/a.b");
  CHECK(origin(aws, "Bucket", "eu-west-1") == "https://s3.eu-west-1.amazonaws.com/Bucket");
  CHECK(origin(aws, "ab", "eu-west-1") == "https://s3.eu-west-1.amazonaws.com/ab");
  CHECK(origin(aws, "bucket", "cn-north-1") == "https://bucket.s3.cn-north-1.amazonaws.com.cn");
  CHECK(origin(aws, "bucket", "us-gov-west-1") == "https://bucket.s3.us-gov-west-1.amazonaws.com");
  CHECK(origin(aws, "bucket", "aws-global") == "https://bucket.s3.amazonaws.com");
  aws.uses_fips = true;
  CHECK(origin(aws, "bucket", "us-east-1") == "https://bucket.s3-fips.us-east-1.amazonaws.com");
  aws.uses_dual_stack = true;
  CHECK(origin(aws, "bucket", "us-east-1") ==
        "https://bucket.s3-fips.dualstack.us-east-1.amazonaws.com");
  S3EndpointRules own;
  own.custom = *parse_endpoint("HTTP://MinIO:9000/base/");
  CHECK(origin(own, "bucket", "x") == "http://minio:9000/base/bucket");
  own.addressing = S3Addressing::virtual_host;
  CHECK(origin(own, "bucket", "x") == "http://bucket.minio:9000/base");
  own.custom = *parse_endpoint("http://127.0.0.1:9000");
  CHECK(origin(own, "bucket", "x") == "http://127.0.0.1:9000/bucket");
  own = {};
  own.custom = *parse_endpoint("oss-cn-hangzhou.aliyuncs.com");
  CHECK(origin(own, "bucket", "x") == "https://bucket.oss-cn-hangzhou.aliyuncs.com");
  own.uses_fips = true;
  CHECK(s3_target(own, "bucket", "x").error().kind() == ErrorKind::invalid_argument);
  CHECK(s3_target({}, "arn:aws:s3:::x", "x").error().kind() == ErrorKind::invalid_argument);
}

TEST_CASE("directory buckets and access points have hosts of their own", "[s3]") {
  const auto host = [](const char* bucket, const char* region, const char* variant = "") {
    S3EndpointRules rules;
    const std::string_view words = variant;
    rules.uses_fips = words.find("fips") != std::string_view::npos;
    rules.uses_dual_stack = words.find("dual") != std::string_view::npos;
    rules.uses_acceleration = words.find("fast") != std::string_view::npos;
    const auto target = s3_target(rules, bucket, region);
    if (!target) return target.error().message();
    return target->origin.substr(8);
  };
  const char* const bucket = "b--use1-az4--x-s3";
  CHECK(host(bucket, "us-east-1") ==
        "b--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com");
  CHECK(host(bucket, "us-east-1", "fips") ==
        "b--use1-az4--x-s3.s3express-fips-use1-az4.us-east-1.amazonaws.com");
  CHECK(host(bucket, "us-east-1", "fips dual") ==
        "b--use1-az4--x-s3.s3express-fips-use1-az4.dualstack.us-east-1.amazonaws.com");
  CHECK(host("b--usw2-lax1-az1--x-s3", "us-west-2") ==
        "b--usw2-lax1-az1--x-s3.s3express-usw2-lax1-az1.us-west-2.amazonaws.com");
  CHECK(host("p--use1-az4--xa-s3", "us-east-1") ==
        "p--use1-az4--xa-s3.s3express-use1-az4.us-east-1.amazonaws.com");
  CHECK_THAT(host("x--x-s3", "us-east-1"), Catch::Contains("NAME--ZONE--x-s3"));
  CHECK_THAT(host(bucket, "us-east-1", "fast"), Catch::Contains("not accelerated"));
  const char* const point = "arn:aws:s3:eu-west-1:123456789012:accesspoint:p";
  CHECK(host(point, "eu-west-1") == "p-123456789012.s3-accesspoint.eu-west-1.amazonaws.com");
  CHECK(host(point, "eu-west-1", "fips dual") ==
        "p-123456789012.s3-accesspoint-fips.dualstack.eu-west-1.amazonaws.com");
  CHECK(host("arn:aws-cn:s3:cn-north-1:123456789012:accesspoint:p", "cn-north-1") ==
        "p-123456789012.s3-accesspoint.cn-north-1.amazonaws.com.cn");
  CHECK_THAT(host("arn:aws:s3::123456789012:accesspoint:m.mrap", "us-east-1"),
             Catch::Contains("SigV4a"));
  S3EndpointRules own;
  own.custom = *parse_endpoint("https://s3.example.com/base");
  CHECK(s3_target(own, point, "x")->origin == "https://p-123456789012.s3.example.com");
  CHECK(s3_target(own, bucket, "x")->origin == "https://b--use1-az4--x-s3.s3.example.com");
  own.custom = *parse_endpoint("http://127.0.0.1:9000");
  CHECK(s3_target(own, bucket, "x")->base_path == "/b--use1-az4--x-s3");
  CHECK(s3_target(own, point, "x").error().kind() == ErrorKind::invalid_argument);
}

TEST_CASE("buckets of every partition, and of its variants, are asked where AWS has them", "[s3]") {
  const auto host = [](const char* region, const char* variant = "") {
    S3EndpointRules rules;
    const std::string_view words = variant;
    rules.uses_fips = words.find("fips") != std::string_view::npos;
    rules.uses_dual_stack = words.find("dual") != std::string_view::npos;
    rules.uses_acceleration = words.find("fast") != std::string_view::npos;
    const auto target = s3_target(rules, "b-1", region);
    if (!target) return target.error().message();
    return target->origin.substr(8);
  };
  CHECK(host("us-iso-east-1") == "b-1.s3.us-iso-east-1.c2s.ic.gov");
  CHECK(host("us-isob-east-1", "fips") == "b-1.s3-fips.us-isob-east-1.sc2s.sgov.gov");
  CHECK(host("us-isof-south-1") == "b-1.s3.us-isof-south-1.csp.hci.ic.gov");
  CHECK(host("eu-isoe-west-1", "fips") == "b-1.s3-fips.eu-isoe-west-1.cloud.adc-e.uk");
  CHECK(host("eusc-de-east-1", "dual") == "b-1.s3.dualstack.eusc-de-east-1.amazonaws.eu");
  CHECK(host("us-gov-west-1", "fips") == "b-1.s3-fips.us-gov-west-1.amazonaws.com");
  CHECK(host("cn-north-1", "dual") == "b-1.s3.dualstack.cn-north-1.amazonaws.com.cn");
  CHECK(host("aws-global", "fips") == "b-1.s3-fips.us-east-1.amazonaws.com");
  CHECK(host("aws-global", "fips dual") == "b-1.s3-fips.dualstack.us-east-1.amazonaws.com");
  CHECK(host("aws-global", "dual") == "b-1.s3.dualstack.us-east-1.amazonaws.com");
  CHECK(host("fips-us-west-2") == "b-1.s3-fips.us-west-2.amazonaws.com");
  CHECK(host("us-west-2-fips", "dual") == "b-1.s3-fips.dualstack.us-west-2.amazonaws.com");
  CHECK(host("eu-west-1", "fast dual") == "b-1.s3-accelerate.dualstack.amazonaws.com");
  CHECK_THAT(host("cn-north-1", "fips"), Catch::Contains("aws-cn has no FIPS"));
  CHECK_THAT(host("eu-isoe-west-1", "dual"), Catch::Contains("aws-iso-e has no dual-stack"));
  CHECK_THAT(host("us-isof-east-1", "dual"), Catch::Contains("AWS_USE_DUALSTACK_ENDPOINT"));
  CHECK_THAT(host("eu-west-1", "fast fips"), Catch::Contains("no FIPS"));
  CHECK_THAT(host("cn-north-1", "fast"), Catch::Contains("use_accelerate_endpoint"));
  // And back: whose a host is.
  CHECK(region_of_aws_host("b.s3.eusc-de-east-1.amazonaws.eu") == "eusc-de-east-1");
  CHECK(region_of_aws_host("s3-fips.dualstack.us-isob-east-1.sc2s.sgov.gov") == "us-isob-east-1");
  CHECK(region_of_aws_host("s3.us-iso-east-1.c2s.ic.gov.example.com").empty());
  CHECK(region_of_aws_host("s3.us-iso-east-1.xc2s.ic.gov").empty());
}

TEST_CASE("a profile's own S3 section says variant and style", "[s3]") {
  const TemporaryFolder home;
  std::map<std::string, std::string> variables = {{"HOME", home.path().string()}};
  const Environment environment = [&](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
  HttpClient http;
  const auto origin = [&](const std::string& config) {
    write_text(home.path() / ".aws" / "config", "[default]\n  region = us-west-2\n" + config);
    const auto read = read_s3_config(Settings(), environment, http);
    if (!read) return read.error().line();
    const auto target = s3_target(read->endpoint, "b-1", read->region.value);
    return target ? target->origin + target->base_path : target.error().message();
  };
  CHECK(origin("") == "https://b-1.s3.us-west-2.amazonaws.com");
  CHECK(origin("  s3 =\n    use_dualstack_endpoint = true\n") ==
        "https://b-1.s3.dualstack.us-west-2.amazonaws.com");
  CHECK(origin("  s3 =\n    # a comment\n    addressing_style: path\n") ==
        "https://s3.us-west-2.amazonaws.com/b-1");
  CHECK(origin("  s3 =\n    use_accelerate_endpoint = true\n") ==
        "https://b-1.s3-accelerate.amazonaws.com");
  CHECK(origin("  use_fips_endpoint: true\n") == "https://b-1.s3-fips.us-west-2.amazonaws.com");
  variables["AWS_USE_FIPS_ENDPOINT"] = "false";
  CHECK(origin("  use_fips_endpoint: true\n") == "https://b-1.s3.us-west-2.amazonaws.com");
  CHECK(origin("  endpoint_url = http://127.0.0.1:9\n") == "http://127.0.0.1:9/b-1");
  // Variants are of AWS' own endpoints: as for the AWS CLI, another one is used as it stands.
  CHECK(origin("  endpoint_url = http://127.0.0.1:9\n  use_dualstack_endpoint = true\n") ==
        "http://127.0.0.1:9/b-1");
  CHECK(origin("  endpoint_url = http://127.0.0.1:9\n  ignore_configured_endpoint_urls = true\n") ==
        "https://b-1.s3.us-west-2.amazonaws.com");
}

TEST_CASE("a region is letters, digits and hyphens", "[s3]") {
  for (const char* const good : {"us-east-1", "auto", "garage", "US", "x1"})
    CHECK(is_region(good));
  for (const char* const bad : {"", "123", "-a", "a-", "a.b", "a b", "evil.com/", "a\r\nb"})
    CHECK_FALSE(is_region(bad));
}
