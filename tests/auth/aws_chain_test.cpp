// SPDX-License-Identifier: Apache-2.0
// Every source of AWS credentials, on the wire, against a server on loopback.
#include <sys/stat.h>

#include "auth/aws/context.hpp"
#include "support/auth_world.hpp"
#include "support/store_world.hpp"

using namespace streamer::core;
using namespace streamer::test;
using namespace std::chrono_literals;

namespace {

class World : public AuthWorld<AwsContext> {
 public:
  explicit World(WireServer::Handler handler = {}) : AuthWorld(std::move(handler)) {
    variables["AWS_EC2_METADATA_DISABLED"] = "true";
    variables["AWS_ENDPOINT_URL_STS"] = server.url();
    variables["AWS_ENDPOINT_URL_SSO"] = server.url();
  }
  Result<AwsCredentials> find() const { return find_aws_credentials(context); }
};

std::string sts_answer(const std::string& action, const std::string& id) {
  return answer(
      200,
      fmt::format("<{0}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{0}Result>"
                  "<Credentials><AccessKeyId>{1}</AccessKeyId>"
                  "<SecretAccessKey>sts-secret</SecretAccessKey>"
                  "<SessionToken>sts-token</SessionToken>"
                  "<Expiration>2099-01-02T03:04:05Z</Expiration></Credentials>"
                  "</{0}Result></{0}Response>",
                  action, id));
}

std::string json_keys(const std::string& id, const std::string& more = "") {
  return fmt::format(
      "{{{}\"AccessKeyId\":\"{}\",\"SecretAccessKey\":\"s\",\"Token\":\"t\","
      "\"Expiration\":\"2099-01-02T03:04:05Z\"}}",
      more, id);
}

}  // namespace

TEST_CASE("environment: keys, session, expiry; half of them is an error", "[aws]") {
  World world;
  world.variables["AWS_ACCESS_KEY_ID"] = "ID";
  CHECK(world.find().error().kind() == ErrorKind::invalid_argument);
  world.variables["AWS_SECRET_ACCESS_KEY"] = "secret";
  world.variables["AWS_SECURITY_TOKEN"] = "legacy";
  world.variables["AWS_CREDENTIAL_EXPIRATION"] = "2099-01-02T03:04:05+00:00";
  const auto found = world.find();
  REQUIRE(found);
  CHECK(found->access_key_id == "ID");
  CHECK(found->session_token.reveal() == "legacy");
  CHECK(found->expires == parse_iso("2099-01-02T03:04:05Z"));
  world.variables["AWS_SECRET_ACCESS_KEY"] = "a\r\nX-Forged: 1";
  CHECK(world.find().error().kind() == ErrorKind::invalid_argument);
}

TEST_CASE("environment: a secret without an id is nothing, as for the AWS CLI", "[aws]") {
  World world;
  world.variables["AWS_SECRET_ACCESS_KEY"] = "canary";
  CHECK_THAT(world.find().error().message(),
             Catch::Contains("AWS_SECRET_ACCESS_KEY is set but AWS_ACCESS_KEY_ID is not") &&
                 !Catch::Contains("canary"));
  world.write(".aws/credentials", "[default]\naws_access_key_id=F\naws_secret_access_key=f\n");
  CHECK(world.find()->access_key_id == "F");
}

TEST_CASE("nothing configured: the error names every source", "[aws]") {
  World world;
  const auto found = world.find();
  REQUIRE_FALSE(found);
  CHECK(found.error().kind() == ErrorKind::permission_denied);
  for (const char* const source :
       {"environment", "web identity", "profile", "container", "instance metadata"})
    CHECK_THAT(found.error().message(), Catch::Contains(source));
}

TEST_CASE("web identity: the token goes to STS and keys come back", "[aws]") {
  World world([](const WireRequest& request, Wire& wire) {
    CHECK(request.method == "POST");
    CHECK(request.header("authorization").empty());
    CHECK(form_value(request, "Action") == "AssumeRoleWithWebIdentity");
    CHECK(form_value(request, "Version") == "2011-06-15");
    CHECK(form_value(request, "RoleArn") == "arn:aws:iam::1:role/r");
    CHECK(form_value(request, "RoleSessionName") == "session");
    CHECK(form_value(request, "WebIdentityToken") == "a.b+c/d=");
    wire.send(sts_answer("AssumeRoleWithWebIdentity", "WEBID"));
  });
  world.variables["AWS_WEB_IDENTITY_TOKEN_FILE"] = world.write("token", "a.b+c/d=\n");
  CHECK(world.find().error().kind() == ErrorKind::invalid_argument);
  world.variables["AWS_ROLE_ARN"] = "arn:aws:iam::1:role/r";
  world.variables["AWS_ROLE_SESSION_NAME"] = "session";
  const auto found = world.find();
  REQUIRE(found);
  CHECK(found->access_key_id == "WEBID");
  CHECK(found->session_token.reveal() == "sts-token");
  world.variables["AWS_WEB_IDENTITY_TOKEN_FILE"] = "/nowhere";
  CHECK(world.find().error().kind() == ErrorKind::not_found);
}

TEST_CASE("web identity: a token that expired is read from its file again, once", "[aws]") {
  World world([](const WireRequest& request, Wire& wire) {
    static_cast<void>(request);
    wire.send(answer(400,
                     "<ErrorResponse><Error><Code>ExpiredTokenException</Code>"
                     "<Message>late</Message></Error></ErrorResponse>"));
  });
  world.variables["AWS_WEB_IDENTITY_TOKEN_FILE"] = world.write("token", "CANARYTOKEN");
  world.variables["AWS_ROLE_ARN"] = "arn:aws:iam::1:role/r";
  const auto found = world.find();
  REQUIRE_FALSE(found);
  CHECK(found.error().kind() == ErrorKind::credentials_expired);
  CHECK(world.asked == 2);
  CHECK(found.error().line().find("CANARY") == std::string::npos);
}

TEST_CASE("profiles: keys, both files merged, the credentials file first", "[aws]") {
  World world;
  world.write(".aws/config",
              "[default]\naws_access_key_id=CONFIG\naws_secret_access_key=c\n"
              "[profile team]\nregion=eu-west-1\naws_access_key_id=TEAM\n");
  world.write(".aws/credentials",
              "[default]\naws_access_key_id=FILE\naws_secret_access_key=f\n"
              "[team]\naws_secret_access_key=t\naws_session_token=tok\n");
  CHECK(world.find()->access_key_id == "FILE");
  world.variables["AWS_PROFILE"] = "team";
  const auto team = world.find();
  REQUIRE(team);
  CHECK(team->access_key_id == "TEAM");
  CHECK(team->session_token.reveal() == "tok");
  world.variables["AWS_PROFILE"] = "nobody";
  CHECK_THAT(world.find().error().message(), Catch::Contains("nobody"));
  // A profile that was set in code goes before the environment.
  world.variables["AWS_PROFILE"] = "";
  world.variables["AWS_ACCESS_KEY_ID"] = "ENV";
  world.variables["AWS_SECRET_ACCESS_KEY"] = "e";
  CHECK(world.find()->access_key_id == "ENV");
  world.context.profile = "team";
  CHECK(world.find()->access_key_id == "TEAM");
}

TEST_CASE("profiles: roles are assumed with signed requests, through a chain", "[aws]") {
  std::atomic<int> turn{0};
  World world([&](const WireRequest& request, Wire& wire) {
    CHECK(form_value(request, "Action") == "AssumeRole");
    const std::string header = request.header("authorization");
    const std::string scope_at = "Credential=";
    const std::size_t at = header.find(scope_at) + scope_at.size();
    const std::string credential = header.substr(at, header.find(',', at) - at);
    const std::string id = credential.substr(0, credential.find('/'));
    CHECK(id == (turn == 0 ? "BASE" : "MIDDLE"));
    const std::string signed_at = "SignedHeaders=";
    const std::size_t names = header.find(signed_at) + signed_at.size();
    CHECK(header.substr(header.rfind('=') + 1) ==
          aws_signature(request, turn == 0 ? "base-secret" : "sts-secret",
                        credential.substr(id.size() + 1),
                        header.substr(names, header.find(',', names) - names)));
    if (turn == 1) CHECK(form_value(request, "ExternalId") == "outside");
    wire.send(sts_answer("AssumeRole", turn++ == 0 ? "MIDDLE" : "FINAL"));
  });
  world.write(".aws/config",
              "[profile base]\naws_access_key_id=BASE\naws_secret_access_key=base-secret\n"
              "[profile middle]\nrole_arn=arn:m\nsource_profile=base\n"
              "[profile final]\nrole_arn=arn:f\nsource_profile=middle\nexternal_id=outside\n");
  world.variables["AWS_PROFILE"] = "final";
  const auto found = world.find();
  if (!found) FAIL(found.error().line());
  CHECK(found->access_key_id == "FINAL");
  CHECK(world.asked == 2);
}

TEST_CASE("profiles: what cannot work says why", "[aws]") {
  const auto says = [](const std::string& config, const std::string& words) {
    World world;
    world.write(".aws/config", config);
    world.variables["AWS_PROFILE"] = "p";
    const auto found = world.find();
    REQUIRE_FALSE(found);
    INFO(found.error().line());
    CHECK_THAT(found.error().message(), Catch::Contains(words));
  };
  says("[profile p]\nrole_arn=a\nsource_profile=q\n[profile q]\nrole_arn=b\nsource_profile=p\n",
       "leads back");
  says("[profile p]\nrole_arn=a\nsource_profile=none\n", "does not exist");
  says("[profile p]\nrole_arn=a\n", "exactly one");
  says("[profile p]\nrole_arn=a\nsource_profile=p\ncredential_source=Environment\n", "exactly one");
  says("[profile p]\nrole_arn=a\ncredential_source=Elsewhere\n", "other than");
  says("[profile p]\nrole_arn=a\nsource_profile=p\nmfa_serial=x\n", "MFA");
  says("[profile p]\naws_access_key_id=x\n", "only one");
  says("[profile p]\nlogin_session=x\n", "export-credentials");
  says("[profile p]\nsso_start_url=x\n", "needs sso_account_id");
  says("[profile p]\nsso_account_id=x\n", "needs sso_start_url");
  says("[profile p]\nsso_account_id=x\nsso_role_name=r\nsso_session=s\n", "[sso-session s]");
  says(
      "[profile p]\nsso_account_id=x\nsso_role_name=r\nsso_session=s\nsso_region=a\n"
      "[sso-session s]\nsso_start_url=u\nsso_region=b\n",
      "different values for sso_region");
  says("[profile p]\naws_secret_access_key=x\n", "without aws_access_key_id");
  says("[profile p]\nweb_identity_token_file=/x\n", "role_arn in profile");
  says("[profile p\n", "line 1");
}

TEST_CASE("a profile's role goes before the web identity of the pod", "[aws]") {
  World world([](const WireRequest& request, Wire& wire) {
    const std::string action = form_value(request, "Action");
    const bool is_signed =
        request.header("authorization").find("Credential=BASE/") != std::string::npos;
    CHECK(is_signed == (action == "AssumeRole"));
    wire.send(sts_answer(action, form_value(request, "RoleArn")));
  });
  world.variables["AWS_WEB_IDENTITY_TOKEN_FILE"] = world.write("token", "pod");
  world.variables["AWS_ROLE_ARN"] = "arn:pod";
  CHECK(world.find()->access_key_id == "arn:pod");
  world.write(".aws/config",
              "[default]\nrole_arn=arn:d\nsource_profile=base\n"
              "[profile base]\naws_access_key_id=BASE\naws_secret_access_key=s\n"
              "[profile team]\nrole_arn=arn:t\nsource_profile=base\n"
              "[profile keys]\naws_access_key_id=KEYS\naws_secret_access_key=s\n");
  CHECK(world.find()->access_key_id == "arn:d");
  world.variables["AWS_PROFILE"] = "team";
  CHECK(world.find()->access_key_id == "arn:t");
  // Keys of a profile that the environment names do not; of one that was set in code they do.
  world.variables["AWS_PROFILE"] = "keys";
  CHECK(world.find()->access_key_id == "arn:pod");
  world.context.profile = "keys";
  CHECK(world.find()->access_key_id == "KEYS");
  // Keys of the environment go before all of it.
  world.context.profile = "";
  world.variables["AWS_PROFILE"] = "team";
  world.variables["AWS_ACCESS_KEY_ID"] = "ENV";
  world.variables["AWS_SECRET_ACCESS_KEY"] = "e";
  CHECK(world.find()->access_key_id == "ENV");
}

TEST_CASE("web identity of a profile, each part of it also from the environment", "[aws]") {
  World world([](const WireRequest& request, Wire& wire) {
    CHECK(form_value(request, "Action") == "AssumeRoleWithWebIdentity");
    wire.send(sts_answer("AssumeRoleWithWebIdentity", form_value(request, "RoleArn") + "/" +
                                                          form_value(request, "RoleSessionName") +
                                                          "/" +
                                                          form_value(request, "WebIdentityToken")));
  });
  const std::string token = world.write("token", "of-profile");
  world.write(".aws/config",
              "[default]\nrole_arn=arn:p\nrole_session_name=ps\nweb_identity_token_file=" + token +
                  "\naws_access_key_id=KEYS\naws_secret_access_key=s\n");
  CHECK(world.find()->access_key_id == "arn:p/ps/of-profile");
  world.variables["AWS_ROLE_ARN"] = "arn:e";
  CHECK(world.find()->access_key_id == "arn:e/ps/of-profile");
  world.variables["AWS_WEB_IDENTITY_TOKEN_FILE"] = world.write("other", "of-pod");
  CHECK(world.find()->access_key_id == "arn:e/ps/of-pod");
  world.context.profile = "default";
  CHECK(world.find()->access_key_id == "arn:p/ps/of-profile");
}

TEST_CASE("a source profile's keys go before its own role, and a token stays with its keys",
          "[aws]") {
  World world([](const WireRequest& request, Wire& wire) {
    const std::string header = request.header("authorization");
    const std::size_t at = header.find("Credential=") + 11;
    wire.send(sts_answer("AssumeRole", form_value(request, "RoleArn") + "~" +
                                           header.substr(at, header.find('/') - at) + "~" +
                                           request.header("x-amz-security-token")));
  });
  world.write(".aws/config",
              "[profile p]\nrole_arn=arn:p\nsource_profile=q\n"
              "[profile q]\nrole_arn=arn:q\nsource_profile=p\naws_access_key_id=C\n"
              "aws_secret_access_key=c\naws_session_token=of-config\n");
  world.variables["AWS_PROFILE"] = "p";
  CHECK(world.find()->access_key_id == "arn:p~C~of-config");
  world.write(".aws/credentials", "[q]\naws_access_key_id=F\naws_secret_access_key=f\n");
  CHECK(world.find()->access_key_id == "arn:p~F~");
}

TEST_CASE("keys that are indented, with colons and a byte-order mark, are read", "[aws]") {
  World world;
  world.write(".aws/credentials",
              "\xEF\xBB\xBF[default]\r\n  aws_access_key_id = FIRST\r\n\r\n"
              "  aws_secret_access_key = f\r\n[other]\r\n"
              "aws_access_key_id: OTHER\r\naws_secret_access_key: o=:\r\n");
  CHECK(world.find()->access_key_id == "FIRST");
  world.variables["AWS_PROFILE"] = "other";
  const auto other = world.find();
  REQUIRE(other);
  CHECK(other->access_key_id == "OTHER");
  CHECK(other->secret_access_key.reveal() == "o=:");
}

TEST_CASE("endpoints of services follow partition, FIPS, dual-stack and configured URLs", "[aws]") {
  World world;
  world.variables.erase("AWS_ENDPOINT_URL_STS");
  world.variables.erase("AWS_ENDPOINT_URL_SSO");
  const auto host = [&](AwsService service, const std::string& region) -> std::string {
    const AwsConfig config = *AwsConfig::read(world.context.environment, "");
    const auto found = aws_endpoint(world.context, config, service, region);
    if (!found) return found.error().message();
    return found->endpoint.origin + found->endpoint.base_path + " " + found->region;
  };
  using enum AwsService;
  CHECK(host(sts, "") == "https://sts.amazonaws.com us-east-1");
  CHECK(host(sts, "aws-global") == "https://sts.amazonaws.com us-east-1");
  CHECK(host(sts, "eu-west-1") == "https://sts.eu-west-1.amazonaws.com eu-west-1");
  CHECK(host(sts, "cn-north-1") == "https://sts.cn-north-1.amazonaws.com.cn cn-north-1");
  CHECK(host(sts, "us-gov-west-1") == "https://sts.us-gov-west-1.amazonaws.com us-gov-west-1");
  CHECK(host(sts, "us-iso-east-1") == "https://sts.us-iso-east-1.c2s.ic.gov us-iso-east-1");
  CHECK(host(sts, "us-isob-east-1") == "https://sts.us-isob-east-1.sc2s.sgov.gov us-isob-east-1");
  CHECK(host(sts, "eu-isoe-west-1") == "https://sts.eu-isoe-west-1.cloud.adc-e.uk eu-isoe-west-1");
  CHECK(host(sts, "us-isof-east-1") == "https://sts.us-isof-east-1.csp.hci.ic.gov us-isof-east-1");
  CHECK(host(sts, "eusc-de-east-1") == "https://sts.eusc-de-east-1.amazonaws.eu eusc-de-east-1");
  CHECK(host(sso, "cn-north-1") == "https://portal.sso.cn-north-1.amazonaws.com.cn cn-north-1");
  CHECK(host(sso_oidc, "eusc-de-east-1") ==
        "https://oidc.eusc-de-east-1.amazonaws.eu eusc-de-east-1");
  CHECK(host(sts, "x.example.com/") ==
        "\"x.example.com/\" (from AWS_REGION or the profile's region) is not a region");
  world.variables["AWS_STS_REGIONAL_ENDPOINTS"] = "legacy";
  CHECK(host(sts, "eu-west-1") == "https://sts.amazonaws.com us-east-1");
  CHECK(host(sts, "cn-north-1") == "https://sts.cn-north-1.amazonaws.com.cn cn-north-1");
  world.variables["AWS_USE_FIPS_ENDPOINT"] = "true";
  CHECK(host(sts, "eu-west-1") == "https://sts-fips.eu-west-1.amazonaws.com eu-west-1");
  CHECK(host(sts, "us-gov-west-1") == "https://sts.us-gov-west-1.amazonaws.com us-gov-west-1");
  CHECK(host(sso, "us-gov-west-1") ==
        "https://portal.sso.us-gov-west-1.amazonaws.com us-gov-west-1");
  CHECK(host(sso_oidc, "eu-west-1") == "https://oidc-fips.eu-west-1.amazonaws.com eu-west-1");
  CHECK(host(sts, "") == "https://sts-fips.us-east-1.amazonaws.com us-east-1");
  world.variables["AWS_USE_DUALSTACK_ENDPOINT"] = "true";
  CHECK(host(sts, "us-gov-west-1") == "https://sts-fips.us-gov-west-1.api.aws us-gov-west-1");
  CHECK(host(sso, "eu-west-1") == "https://portal.sso-fips.eu-west-1.api.aws eu-west-1");
  CHECK(host(sts, "eu-isoe-west-1").find("aws-iso-e has no dual-stack") != std::string::npos);
  world.variables["AWS_USE_FIPS_ENDPOINT"] = "";
  CHECK(host(sts, "cn-north-1") ==
        "https://sts.cn-north-1.api.amazonwebservices.com.cn cn-north-1");
  CHECK(host(sts, "us-east-1-fips") == "https://sts-fips.us-east-1.api.aws us-east-1");
  world.variables["AWS_USE_DUALSTACK_ENDPOINT"] = "";
  // From the profile, and what is configured goes before it.
  world.write(".aws/config",
              "[default]\nuse_fips_endpoint=true\nuse_dualstack_endpoint = True\nservices = mine\n"
              "[services mine]\nsso =\n  endpoint_url = https://sso.example.com/base\n");
  CHECK(host(sts, "eu-west-1") == "https://sts-fips.eu-west-1.api.aws eu-west-1");
  CHECK(host(sso, "eu-west-1") == "https://sso.example.com/base eu-west-1");
  world.variables["AWS_ENDPOINT_URL"] = "https://all.example.com";
  CHECK(host(sso, "eu-west-1") == "https://all.example.com eu-west-1");
  world.variables["AWS_ENDPOINT_URL_SSO_OIDC"] = "https://oidc.example.com";
  CHECK(host(sso_oidc, "eu-west-1") == "https://oidc.example.com eu-west-1");
  world.variables["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"] = "true";
  CHECK(host(sso_oidc, "eu-west-1") == "https://oidc-fips.eu-west-1.api.aws eu-west-1");
}

TEST_CASE("STS is asked in the region that was set in code", "[aws]") {
  std::string scope;
  World world([&](const WireRequest& request, Wire& wire) {
    scope = request.header("authorization");
    wire.send(sts_answer("AssumeRole", "ROLE"));
  });
  world.write(".aws/config",
              "[default]\nregion=eu-west-1\nrole_arn=a\ncredential_source=Environment\n");
  world.variables["AWS_ACCESS_KEY_ID"] = "ENV";
  world.variables["AWS_SECRET_ACCESS_KEY"] = "e";
  world.context.profile = "default";
  REQUIRE(world.find());
  CHECK(scope.find("/eu-west-1/sts/") != std::string::npos);
  world.context.region = "cn-north-1";
  REQUIRE(world.find());
  CHECK(scope.find("/cn-north-1/sts/") != std::string::npos);
}

TEST_CASE("profiles: credential_source takes the environment's keys", "[aws]") {
  World world([](const WireRequest& request, Wire& wire) {
    CHECK(request.header("authorization").find("Credential=ENV/") != std::string::npos);
    wire.send(sts_answer("AssumeRole", "ROLE"));
  });
  world.write(".aws/config", "[profile p]\nrole_arn=a\ncredential_source=Environment\n");
  world.variables["AWS_ACCESS_KEY_ID"] = "ENV";
  world.variables["AWS_SECRET_ACCESS_KEY"] = "e";
  world.context.profile = "p";
  CHECK(world.find()->access_key_id == "ROLE");
}

TEST_CASE("credential_process: words, output, failure, time", "[aws]") {
  World world;
  const std::string script =
      world.write("my script.sh",
                  "#!/bin/sh\n[ \"$1\" = \"two words\" ] || exit 3\necho "
                  "'{\"Version\":1,\"AccessKeyId\":\"PROC\",\"SecretAccessKey\":\"s\","
                  "\"Expiration\":\"2099-01-01T00:00:00Z\"}'\n");
  REQUIRE(::chmod(script.c_str(), 0700) == 0);
  const auto found = credentials_from_process("\"" + script + "\" 'two words'", 10s);
  if (!found) FAIL(found.error().line());
  CHECK(found->access_key_id == "PROC");
  CHECK(found->session_token.empty());
  // As a line that goes on in the next one is read from a profile.
  CHECK(credentials_from_process("\"" + script + "\"\n'two words'", 10s));
  CHECK_THAT(credentials_from_process("\"" + script + "\" other", 10s).error().message(),
             Catch::Contains("status 3"));
  CHECK(credentials_from_process("/nowhere/x", 10s).error().kind() == ErrorKind::not_found);
  CHECK(credentials_from_process("a 'b", 10s).error().kind() == ErrorKind::invalid_argument);
  const auto began = std::chrono::steady_clock::now();
  CHECK(credentials_from_process("sh -c 'sleep 60 & sleep 60'", 200ms).error().kind() ==
        ErrorKind::timed_out);
  CHECK(std::chrono::steady_clock::now() - began < 5s);
  CHECK_THAT(
      credentials_from_process("echo {\\\"Version\\\":2,\\\"AccessKeyId\\\":\\\"CANARY\\\"}", 10s)
          .error()
          .line(),
      !Catch::Contains("CANARY"));
}

TEST_CASE("container: the token goes along, and only to allowed addresses", "[aws]") {
  World world([](const WireRequest& request, Wire& wire) {
    CHECK(request.header("authorization") == "pod-token");
    CHECK(request.header("accept") == "application/json");
    CHECK(request.target == "/v1/credentials?x=y");
    wire.send(answer(200, json_keys("POD")));
  });
  world.variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"] =
      world.server.url() + "/v1/credentials?x=y";
  world.variables["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = world.write("pod", "pod-token\n");
  // A proxy would get the token.
  world.variables["http_proxy"] = "http://127.0.0.1:1";
  const auto found = world.find();
  if (!found) FAIL(found.error().line());
  CHECK(found->access_key_id == "POD");
  for (const char* const url :
       {"http://10.0.0.1/x", "http://example.com/x", "http://169.254.170.3/"}) {
    INFO(url);
    world.variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = url;
    world.context.resolver = [](const std::string&) {
      return std::vector<std::string>{"127.0.0.1", "93.184.216.34"};
    };
    const auto refused = world.find();
    REQUIRE_FALSE(refused);
    CHECK_THAT(refused.error().message(), Catch::Contains("only loopback"));
  }
}

TEST_CASE("N29 container: every broken answer is an error without the answer", "[aws]") {
  for (const std::string& body :
       {std::string("<html>CANARY</html>"), std::string(1'000'000, 'C'), std::string(),
        std::string("{\"AccessKeyId\":\"CANARY\"}"),
        std::string("{\"Code\":\"AssumeRoleUnauthorizedAccess\",\"Message\":\"no\"}"),
        json_keys("X", "\"Expiration\":\"CANARY\",")}) {
    World world([&](const WireRequest&, Wire& wire) { wire.send(answer(200, body)); });
    world.variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = world.server.url() + "/";
    const auto found = world.find();
    if (found) continue;  // the last member of two wins
    CHECK(found.error().kind() == ErrorKind::permission_denied);
    CHECK(found.error().line().find("CANARY") == std::string::npos);
  }
  for (const int status : {404, 500}) {
    World world([&](const WireRequest&, Wire& wire) { wire.send(answer(status, "x")); });
    world.variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = world.server.url() + "/";
    CHECK(world.find().error().kind() == ErrorKind::permission_denied);
    CHECK(world.asked == (status == 500 ? 3 : 1));
  }
}

TEST_CASE("instance metadata: version 2 only, role, keys and region", "[aws]") {
  const auto handler = [](const WireRequest& request, Wire& wire) {
    if (request.method == "PUT") {
      CHECK(request.path == "/latest/api/token");
      CHECK(request.header("x-aws-ec2-metadata-token-ttl-seconds") == "21600");
      return wire.send(answer(200, "imds-token"));
    }
    CHECK(request.header("x-aws-ec2-metadata-token") == "imds-token");
    if (request.path == "/latest/meta-data/iam/security-credentials/")
      return wire.send(answer(200, "my-role\nother"));
    if (request.path == "/latest/meta-data/iam/security-credentials/my-role")
      return wire.send(answer(200, json_keys("IMDS", "\"Code\":\"Success\",")));
    CHECK(request.path == "/latest/meta-data/placement/region");
    wire.send(answer(200, "eu-north-1"));
  };
  World world(handler);
  world.variables["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = world.server.url();
  world.variables["http_proxy"] = "http://127.0.0.1:1";
  CHECK_FALSE(world.find());
  CHECK(world.asked == 0);
  world.variables["AWS_EC2_METADATA_DISABLED"] = "";
  const auto found = world.find();
  if (!found) FAIL(found.error().line());
  CHECK(found->access_key_id == "IMDS");
  CHECK(region_from_imds(world.context) == "eu-north-1");
}

TEST_CASE("instance metadata: absent, refused, without a role", "[aws]") {
  const auto why = [](WireServer::Handler handler) {
    World world(std::move(handler));
    world.variables["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = world.server.url();
    world.variables["AWS_EC2_METADATA_DISABLED"] = "";
    const auto began = std::chrono::steady_clock::now();
    const auto found = world.find();
    REQUIRE_FALSE(found);
    CHECK(std::chrono::steady_clock::now() - began < 2s);
    return found.error().message();
  };
  CHECK_THAT(why([](const WireRequest&, Wire& wire) { wire.stall(); }),
             Catch::Contains("hop limit"));
  // Never version 1 instead.
  CHECK_THAT(why([](const WireRequest& request, Wire& wire) {
               CHECK(request.method == "PUT");
               wire.send(answer(403, ""));
             }),
             Catch::Contains("403"));
  CHECK_THAT(why([](const WireRequest& request, Wire& wire) {
               wire.send(request.method == "PUT" ? answer(200, "t") : answer(404, ""));
             }),
             Catch::Contains("no role"));
}
