// SPDX-License-Identifier: Apache-2.0
// IAM Identity Center: tokens of the cache, on the wire, against a server on loopback.
#include <sys/stat.h>

#include "auth/aws/context.hpp"
#include "base/crypto.hpp"
#include "support/auth_world.hpp"

using namespace streamer::core;
using namespace streamer::test;
using namespace std::chrono_literals;

TEST_CASE("SSO: the cached token is traded for keys", "[aws]") {
  AuthWorld<AwsContext> world([](const WireRequest& request, Wire& wire) {
    if (request.header("x-amz-sso_bearer_token") != "sso-token")
      return wire.send(answer(401, "{}"));
    CHECK(request.path == "/federation/credentials");
    CHECK(request.query == "account_id=123&role_name=admin");
    wire.send(answer(200,
                     "{\"roleCredentials\":{\"accessKeyId\":\"SSO\",\"secretAccessKey\":\"s\","
                     "\"sessionToken\":\"t\",\"expiration\":4070919845000}}"));
  });
  world.variables["AWS_EC2_METADATA_DISABLED"] = "true";
  world.variables["AWS_ENDPOINT_URL_SSO"] = world.server.url();
  world.write(".aws/config",
              "[profile p]\nsso_session=corp\nsso_account_id=123\nsso_role_name=admin\n"
              "[sso-session corp]\nsso_start_url=https://corp\nsso_region=eu-west-1\n");
  world.variables["AWS_PROFILE"] = "p";
  CHECK_THAT(find_aws_credentials(world.context).error().message(),
             Catch::Contains("aws sso login --profile p"));
  const std::string cache = ".aws/sso/cache/" + sha1_hex("corp") + ".json";
  world.write(cache, "{\"accessToken\":\"sso-token\",\"expiresAt\":\"2099-01-01T00:00:00Z\"}");
  const auto found = find_aws_credentials(world.context);
  if (!found) FAIL(found.error().line());
  CHECK(found->access_key_id == "SSO");
  CHECK(found->expires == SystemTime(4070919845s));
  world.write(cache, "{\"accessToken\":\"old\",\"expiresAt\":\"2099-01-01T00:00:00Z\"}");
  CHECK(find_aws_credentials(world.context).error().kind() == ErrorKind::credentials_expired);
  world.write(cache, "{\"accessToken\":\"sso-token\",\"expiresAt\":\"2001-01-01T00:00:00Z\"}");
  CHECK_THAT(find_aws_credentials(world.context).error().message(), Catch::Contains("expired"));
}

namespace {

// An SSO portal that takes "new" and a token service that gives it out for the refresh token "r1".
class SsoWorld : public AuthWorld<AwsContext> {
 public:
  explicit SsoWorld(std::string refusal = "")
      : AuthWorld([refusal = std::move(refusal)](const WireRequest& request, Wire& wire) {
          if (request.path == "/token") {
            const bool is_right = request.method == "POST" &&
                                  request.header("content-type") == "application/json" &&
                                  request.body ==
                                      "{\"grantType\":\"refresh_token\",\"clientId\":\"id\","
                                      "\"clientSecret\":\"s\\\"\",\"refreshToken\":\"r1\"}";
            if (!is_right || !refusal.empty())
              return wire.send(answer(400, "{\"error\":\"" + refusal + "\"}"));
            return wire.send(answer(200,
                                    "{\"accessToken\":\"new\",\"expiresIn\":28800,"
                                    "\"refreshToken\":\"r2\",\"tokenType\":\"Bearer\"}"));
          }
          const std::string token = request.header("x-amz-sso_bearer_token");
          if (token != "new" && token != "short") return wire.send(answer(401, "{}"));
          wire.send(answer(200, "{\"roleCredentials\":{\"accessKeyId\":\"by-" + token +
                                    "\",\"secretAccessKey\":\"s\",\"sessionToken\":\"t\","
                                    "\"expiration\":4070919845000}}"));
        }) {
    variables["AWS_ENDPOINT_URL_SSO_OIDC"] = server.url();
    variables["AWS_ENDPOINT_URL_SSO"] = server.url();
    variables["AWS_EC2_METADATA_DISABLED"] = "true";
    write(".aws/config",
          "[default]\nsso_session=corp\nsso_account_id=1\nsso_role_name=r\n"
          "[sso-session corp]\nsso_start_url=https://corp\nsso_region=eu-west-1\n");
  }
  Result<AwsCredentials> find() const { return find_aws_credentials(context); }
  // Returns the path.
  std::string cache(const std::string& token, const std::string& until, bool is_renewable = true) {
    std::string text = fmt::format(
        R"({{"startUrl":"https://corp","accessToken":"{}","expiresAt":"{}")", token, until);
    if (is_renewable)
      text += R"(,"clientId":"id","clientSecret":"s\"","refreshToken":"r1",)"
              R"("registrationExpiresAt":"2099-01-01T00:00:00Z")";
    return write(".aws/sso/cache/" + sha1_hex("corp") + ".json", text + "}");
  }
};

}  // namespace

TEST_CASE("SSO: a token that has expired is renewed, and the cache holds the new one", "[aws]") {
  SsoWorld world;
  const std::string path = world.cache("old", "2001-01-01T00:00:00Z");
  const auto found = world.find();
  if (!found) FAIL(found.error().line());
  CHECK(found->access_key_id == "by-new");
  const auto kept = read_flat_json(*read_small_file(path, 65536));
  REQUIRE(kept);
  CHECK(text_of(*kept, "accessToken") == "new");
  CHECK(text_of(*kept, "refreshToken") == "r2");
  CHECK(text_of(*kept, "clientSecret") == "s\"");
  CHECK(text_of(*kept, "region") == "eu-west-1");
  const auto until = parse_iso(text_of(*kept, "expiresAt"));
  REQUIRE(until);
  CHECK(*until - std::chrono::system_clock::now() > 7h);
  struct stat info {};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);
  // From now on the cache is enough.
  const int before = world.asked;
  CHECK(world.find()->access_key_id == "by-new");
  CHECK(world.asked == before + 1);
}

TEST_CASE("SSO: a token that cannot be renewed is used while it holds, and then says why",
          "[aws]") {
  SsoWorld world("InvalidGrantException");
  world.cache("short", format_iso(std::chrono::system_clock::now() + 5min));
  CHECK(world.find()->access_key_id == "by-short");
  world.cache("old", "2001-01-01T00:00:00Z");
  const auto refused = world.find();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().kind() == ErrorKind::credentials_expired);
  CHECK_THAT(refused.error().message(),
             Catch::Contains("InvalidGrantException") && Catch::Contains("aws sso login"));
  world.cache("old", "2001-01-01T00:00:00Z", false);
  CHECK_THAT(world.find().error().message(), Catch::Contains("holds no refreshToken"));
}
