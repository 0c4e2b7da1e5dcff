// SPDX-License-Identifier: Apache-2.0
// Every source of Google's credentials, on the wire, against a server on loopback.
#include <sys/stat.h>

#include "auth/credential_cache.hpp"
#include "auth/gcp/context.hpp"
#include "base/crypto.hpp"
#include "support/auth_world.hpp"
#include "support/dialect.hpp"

using namespace streamer::core;
using namespace streamer::test;
using namespace std::chrono_literals;

namespace {

class GoogleWorld : public AuthWorld<GcpContext> {
 public:
  explicit GoogleWorld(WireServer::Handler handler = {}) : AuthWorld(std::move(handler)) {
    variables["NO_GCE_CHECK"] = "true";
  }
  void use(const std::string& text) {
    variables["GOOGLE_APPLICATION_CREDENTIALS"] = write("credentials.json", text);
  }
  Result<BearerToken> find() const { return find_google_token(context); }
};

std::string google_token(const std::string& name) {
  return answer(200, fmt::format(R"({{"access_token":"{}","expires_in":3599,"scope":"x",)"
                                 R"("token_type":"Bearer","ratio":1.5}})",
                                 name));
}

}  // namespace

TEST_CASE("nothing configured for Google: the error names every place", "[google]") {
  const GoogleWorld world;
  const auto found = world.find();
  REQUIRE_FALSE(found);
  CHECK(found.error().kind() == ErrorKind::permission_denied);
  for (const char* const place : {"GOOGLE_APPLICATION_CREDENTIALS", ".config/gcloud",
                                  "NO_GCE_CHECK", "gcs_credentials=anonymous"})
    CHECK_THAT(found.error().message(), Catch::Contains(place));
}

TEST_CASE("a file that is named and does not work ends the search", "[google]") {
  GoogleWorld world;
  world.variables["GOOGLE_APPLICATION_CREDENTIALS"] = "/nowhere.json";
  CHECK(world.find().error().kind() == ErrorKind::not_found);
  for (const auto& [text, kind] : std::vector<std::pair<std::string, ErrorKind>>{
           {"", ErrorKind::invalid_argument},
           {"[]", ErrorKind::unsupported},
           {R"({"private_key":"canary-secret)", ErrorKind::invalid_argument},
           {R"({"type":"service_account","client_email":"x"})", ErrorKind::invalid_argument},
           {R"({"type":"gdch_service_account"})", ErrorKind::unsupported},
           {R"({"type":"external_account","audience":"a"})", ErrorKind::invalid_argument},
           {R"({"type":"service_account","client_email":"x","private_key":"canary-secret"})",
            ErrorKind::invalid_argument}}) {
    world.use(text);
    INFO(text);
    const auto found = world.find();
    REQUIRE_FALSE(found);
    CHECK(found.error().kind() == kind);
    CHECK_THAT(found.error().line(), Catch::Contains("credentials.json"));
    CHECK(found.error().line().find("canary") == std::string::npos);
  }
}

TEST_CASE("a service account signs for itself, without asking anybody", "[google]") {
  GoogleWorld world;
  world.use(service_account_file(R"(,"quota_project_id":"p")"));
  const auto found = world.find();
  if (!found) FAIL(found.error().line());
  const std::string jwt(found->token.reveal());
  CHECK(may_read_google(jwt));
  CHECK(jwt.starts_with(base64url_encode(R"({"alg":"RS256","typ":"JWT","kid":"k1"})") + "."));
  CHECK(found->quota_project == "p");
  REQUIRE(found->expires);
  CHECK(*found->expires - std::chrono::system_clock::now() > 59min);
  CHECK(world.asked == 0);
}

TEST_CASE("a service account with a token service of its own trades its JWT there", "[google]") {
  std::string url;
  GoogleWorld world([&](const WireRequest& request, Wire& wire) {
    const auto claims = claims_of(form_value(request, "assertion"));
    const bool is_right =
        form_value(request, "grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer" &&
        !claims.empty() && claims.at("aud") == url && claims.at("iss") == "reader@test.iam";
    wire.send(is_right ? google_token("traded") : answer(400, R"({"error":"invalid_grant"})"));
  });
  url = world.server.url() + "/token";
  world.use(service_account_file(fmt::format(R"(,"token_uri":"{}")", url)));
  const auto found = world.find();
  if (!found) FAIL(found.error().line());
  CHECK(found->token.reveal() == "traded");
}

TEST_CASE("secrets are not sent in the clear, wherever a file says", "[google]") {
  GoogleWorld world;
  world.use(service_account_file(R"(,"token_uri":"http://tokens.example.com/token")"));
  const auto found = world.find();
  REQUIRE_FALSE(found);
  CHECK(found.error().kind() == ErrorKind::invalid_argument);
  CHECK_THAT(found.error().message(), Catch::Contains("token_uri"));
}

TEST_CASE("a user's login is refreshed", "[google]") {
  GoogleWorld world([](const WireRequest& request, Wire& wire) {
    const bool is_right = form_value(request, "grant_type") == "refresh_token" &&
                          form_value(request, "client_id") == "id" &&
                          form_value(request, "client_secret") == "s&=+" &&
                          form_value(request, "refresh_token") == "1//refresh";
    wire.send(is_right
                  ? google_token("user")
                  : answer(400, R"({"error":"invalid_grant","error_description":"Revoked."})"));
  });
  const auto file = [&](const std::string& refresh) {
    return fmt::format(R"({{"type":"authorized_user","client_id":"id","client_secret":"s&=+",)"
                       R"("refresh_token":"{}","quota_project_id":"q","token_uri":"{}/t"}})",
                       refresh, world.server.url());
  };
  // Where gcloud leaves it.
  world.write(".config/gcloud/application_default_credentials.json", file("1//refresh"));
  const auto found = world.find();
  if (!found) FAIL(found.error().line());
  CHECK(found->token.reveal() == "user");
  CHECK(found->quota_project == "q");
  world.use(file("1//canary"));
  const auto refused = world.find();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().kind() == ErrorKind::permission_denied);
  CHECK_THAT(refused.error().message(),
             Catch::Contains("invalid_grant") && Catch::Contains("Revoked"));
  CHECK(refused.error().line().find("canary") == std::string::npos);
}

TEST_CASE("the metadata server is asked with its flavour, and must answer with it", "[google]") {
  std::atomic<int> turn{0};
  std::string flavour = "Metadata-Flavor: Google\r\n";
  GoogleWorld world([&](const WireRequest& request, Wire& wire) {
    if (request.header("metadata-flavor") != "Google" ||
        request.path != "/computeMetadata/v1/instance/service-accounts/default/token")
      return wire.send(answer(403, ""));
    // Busy at first.
    if (turn++ == 0) return wire.send(answer(503, "", flavour));
    wire.send(answer(200, R"({"access_token":"machine","expires_in":100})", flavour));
  });
  world.variables["NO_GCE_CHECK"] = "";
  world.variables["GCE_METADATA_HOST"] = world.server.url().substr(7);
  const auto found = world.find();
  if (!found) FAIL(found.error().line());
  CHECK(found->token.reveal() == "machine");
  flavour.clear();
  const auto refused = world.find();
  REQUIRE_FALSE(refused);
  CHECK_THAT(refused.error().message(), Catch::Contains("not Google's metadata server"));
}

namespace {

// The security token service, and the one that gives out tokens of service accounts.
void give_out(const WireRequest& request, Wire& wire) {
  if (request.path == "/sts") {
    const bool acts_as_other =
        form_value(request, "scope") == "https://www.googleapis.com/auth/cloud-platform";
    const bool is_right =
        form_value(request, "grant_type") == "urn:ietf:params:oauth:grant-type:token-exchange" &&
        form_value(request, "audience") == "//iam/pool" &&
        form_value(request, "subject_token") == "subject" &&
        form_value(request, "subject_token_type") == "urn:ietf:params:oauth:token-type:jwt";
    return wire.send(is_right ? google_token(acts_as_other ? "wide" : "federated")
                              : answer(400, R"({"error":"invalid_request"})"));
  }
  if (request.path == "/subject") {
    const bool is_right = request.header("x-wanted") == "yes" && request.query == "a=b";
    return wire.send(is_right ? answer(200, R"({"value":"subject"})") : answer(403, ""));
  }
  const bool is_right = request.header("authorization") == "Bearer wide" &&
                        request.body.find("devstorage.read_only") != std::string::npos &&
                        request.body.find(R"("lifetime":"3600s")") != std::string::npos;
  wire.send(is_right ? answer(200, R"({"accessToken":"acted","expireTime":"2099-01-02T03:04:05Z"})")
                     : answer(403, R"({"error":{"code":403,"message":"Permission denied."}})"));
}

std::string external(const GoogleWorld& world, const std::string& source,
                     const std::string& more = "") {
  return fmt::format(
      R"({{"type":"external_account","audience":"//iam/pool",)"
      R"("subject_token_type":"urn:ietf:params:oauth:token-type:jwt","token_url":"{}/sts",)"
      R"("credential_source":{}{}}})",
      world.server.url(), source, more);
}

}  // namespace

TEST_CASE("workload identity: from a file and from a URL, as text and as JSON", "[google]") {
  GoogleWorld world(give_out);
  const std::string file = world.write("subject", "subject\n");
  world.use(external(world, fmt::format(R"({{"file":"{}"}})", file)));
  auto found = world.find();
  if (!found) FAIL(found.error().line());
  CHECK(found->token.reveal() == "federated");
  const std::string json = world.write("subject.json", R"({"value":"subject"})");
  world.use(external(world, fmt::format(R"({{"file":"{}","format":{{"type":"json",)"
                                        R"("subject_token_field_name":"value"}}}})",
                                        json)));
  CHECK(world.find()->token.reveal() == "federated");
  world.use(external(
      world, fmt::format(R"({{"url":"{}/subject?a=b","headers":{{"X-Wanted":"yes"}},)"
                         R"("format":{{"type":"json","subject_token_field_name":"value"}}}})",
                         world.server.url())));
  CHECK(world.find()->token.reveal() == "federated");
  world.use(external(world, R"({"certificate":{}})"));
  CHECK(world.find().error().kind() == ErrorKind::unsupported);
  world.use(external(world, R"({"file":"/nowhere"})"));
  CHECK(world.find().error().kind() == ErrorKind::not_found);
}

TEST_CASE("workload identity of AWS: a signed request to STS stands for the instance", "[google]") {
  // What Google's side sees: the request, decoded.
  std::string seen;
  const auto handler = [&](const WireRequest& request, Wire& wire) {
    if (request.path == "/sts") {
      seen = *percent_decode(form_value(request, "subject_token"));
      return wire.send(google_token("federated"));
    }
    if (request.method == "PUT") {
      CHECK(request.path == "/token");
      CHECK(request.header("x-aws-ec2-metadata-token-ttl-seconds") == "300");
      return wire.send(answer(200, "session"));
    }
    if (request.header("x-aws-ec2-metadata-token") != "session") return wire.send(answer(401, ""));
    if (request.path == "/zone") return wire.send(answer(200, "us-east-2b"));
    if (request.path == "/role") return wire.send(answer(200, "my-role"));
    CHECK(request.path == "/role/my-role");
    wire.send(answer(200, R"({"Code":"Success","AccessKeyId":"IMDS","SecretAccessKey":"i",)"
                          R"("Token":"t","Expiration":"2099-01-01T00:00:00Z"})"));
  };
  GoogleWorld world(handler);
  const std::string verification =
      R"("https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15")";
  world.use(external(
      world, fmt::format(R"({{"environment_id":"aws1","region_url":"{0}/zone","url":"{0}/role",)"
                         R"("imdsv2_session_token_url":"{0}/token",)"
                         R"("regional_cred_verification_url":{1}}})",
                         world.server.url(), verification)));
  const auto found = world.find();
  if (!found) FAIL(found.error().line());
  CHECK(found->token.reveal() == "federated");
  CHECK_THAT(seen, Catch::StartsWith(R"({"url":"https://sts.us-east-2.amazonaws.com/?Action=)"
                                     R"(GetCallerIdentity&Version=2011-06-15","method":"POST",)"
                                     R"("headers":[{"key":"host","value":)"
                                     R"("sts.us-east-2.amazonaws.com"},)"));
  CHECK_THAT(seen, Catch::Contains("Credential=IMDS/") && Catch::Contains("/us-east-2/sts/") &&
                       Catch::Contains(R"("x-goog-cloud-target-resource","value":"//iam/pool")") &&
                       Catch::Contains(R"("key":"x-amz-security-token","value":"t")"));
  // The environment goes first, and then nobody else is asked.
  world.variables["AWS_REGION"] = "eu-west-1";
  world.variables["AWS_ACCESS_KEY_ID"] = "ENV";
  world.variables["AWS_SECRET_ACCESS_KEY"] = "e";
  const int before = world.asked;
  REQUIRE(world.find());
  CHECK(world.asked == before + 1);
  CHECK_THAT(seen, Catch::Contains("Credential=ENV/") && Catch::Contains("/eu-west-1/sts/") &&
                       !Catch::Contains("x-amz-security-token"));
  world.variables["AWS_REGION"] = "example.com/";
  CHECK_THAT(world.find().error().message(), Catch::Contains("not an AWS region"));
  world.use(external(world, R"({"environment_id":"aws2","regional_cred_verification_url":"x"})"));
  CHECK_THAT(world.find().error().message(), Catch::Contains("aws2"));
}

TEST_CASE("another universe: nothing of its credentials goes to Google's own hosts", "[google]") {
  GoogleWorld world(give_out);
  const std::string elsewhere = R"(,"universe_domain":"apis.example.com")";
  CHECK(*find_google_universe(world.context) == "googleapis.com");
  // A service account signs for itself, whatever token_uri says.
  world.use(service_account_file(elsewhere + R"(,"token_uri":"https://oauth2.googleapis.com/x")"));
  CHECK(*find_google_universe(world.context) == "apis.example.com");
  const auto found = world.find();
  if (!found) FAIL(found.error().line());
  CHECK(found->universe == "apis.example.com");
  CHECK(world.asked == 0);
  const auto refuses = [&](const std::string& file, const std::string& words) {
    world.use(file);
    const auto refused = world.find();
    REQUIRE_FALSE(refused);
    CHECK_THAT(refused.error().message(), Catch::Contains(words));
    CHECK(world.asked == 0);
  };
  const std::string subject = world.write("subject", "subject");
  refuses(fmt::format(R"({{"type":"external_account","audience":"a","subject_token_type":"t",)"
                      R"("token_url":"https://sts.googleapis.com/v1/token",)"
                      R"("credential_source":{{"file":"{}"}}{}}})",
                      subject, elsewhere),
          "token_url is sts.googleapis.com");
  refuses(R"({"type":"authorized_user","client_id":"i","client_secret":"s","refresh_token":"r")" +
              elsewhere + "}",
          "user logins");
  refuses(fmt::format(R"({{"type":"impersonated_service_account",)"
                      R"("service_account_impersonation_url":"https://iam.googleapis.com/x",)"
                      R"("source_credentials":{}}})",
                      service_account_file(elsewhere)),
          "iam.googleapis.com");
  world.use(external(world, fmt::format(R"({{"file":"{}"}})", subject), elsewhere));
  CHECK(world.find()->token.reveal() == "federated");
  world.use(service_account_file(R"(,"universe_domain":"a/b")"));
  CHECK_THAT(find_google_universe(world.context).error().message(), Catch::Contains("a/b"));
  world.variables["GOOGLE_CLOUD_UNIVERSE_DOMAIN"] = "other.example.com";
  CHECK(*find_google_universe(world.context) == "other.example.com");
}

TEST_CASE("the metadata server says its universe; the environment, who is charged", "[google]") {
  std::string universe;
  GoogleWorld world([&](const WireRequest& request, Wire& wire) {
    const std::string flavour = "Metadata-Flavor: Google\r\n";
    if (request.path == "/computeMetadata/v1/universe/universe-domain")
      return wire.send(universe.empty() ? answer(404, "", flavour)
                                        : answer(200, universe, flavour));
    wire.send(answer(200, R"({"access_token":"machine","expires_in":100})", flavour));
  });
  world.variables["NO_GCE_CHECK"] = "";
  world.variables["GCE_METADATA_HOST"] = world.server.url().substr(7);
  CHECK(world.find()->universe == "googleapis.com");
  universe = "apis.example.com\n";
  CHECK(world.find()->universe == "apis.example.com");
  world.use(service_account_file(R"(,"quota_project_id":"of-file")"));
  CHECK(world.find()->quota_project == "of-file");
  world.variables["GOOGLE_CLOUD_QUOTA_PROJECT"] = "of-environment";
  CHECK(world.find()->quota_project == "of-environment");
}

TEST_CASE("workload identity acts as a service account", "[google]") {
  GoogleWorld world(give_out);
  const std::string file = world.write("subject", "subject");
  const std::string source = fmt::format(R"({{"file":"{}"}})", file);
  world.use(external(
      world, source,
      fmt::format(R"(,"service_account_impersonation_url":"{}/sa:generate")", world.server.url())));
  const auto found = world.find();
  if (!found) FAIL(found.error().line());
  CHECK(found->token.reveal() == "acted");
  CHECK(found->expires == parse_iso("2099-01-02T03:04:05Z"));
  // The other way to write it, and a source that may not.
  const std::string outer =
      fmt::format(R"({{"type":"impersonated_service_account","delegates":["d"],)"
                  R"("service_account_impersonation_url":"{}/sa:generate","source_credentials":)",
                  world.server.url());
  world.use(outer + external(world, source) + "}");
  CHECK(world.find()->token.reveal() == "acted");
  world.use(outer + fmt::format(R"({{"type":"authorized_user","client_id":"i","client_secret":"s",)"
                                R"("refresh_token":"r","token_uri":"{}/sts"}}}})",
                                world.server.url()));
  CHECK_THAT(world.find().error().message(), Catch::Contains("invalid_request"));
}

TEST_CASE("a program is run for a token only where that is allowed", "[google]") {
  GoogleWorld world(give_out);
  const std::string program =
      world.write("give token",
                  "#!/bin/sh\nprintf "
                  "'{\"version\":1,\"success\":true,\"token_type\":\"t\",\"id_token\":\"%s\"}' "
                  "\"${GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE#//iam/pool}$1\"\n");
  REQUIRE(::chmod(program.c_str(), 0700) == 0);
  world.use(
      external(world, fmt::format(R"({{"executable":{{"command":"'{}' subject"}}}})", program)));
  CHECK_THAT(world.find().error().message(), Catch::Contains("ALLOW_EXECUTABLES"));
  world.variables["GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES"] = "1";
  const auto found = world.find();
  if (!found) FAIL(found.error().line());
  CHECK(found->token.reveal() == "federated");
  world.write("give token",
              "#!/bin/sh\necho '{\"version\":1,\"success\":false,\"code\":\"401\","
              "\"message\":\"log in\"}'\n");
  CHECK_THAT(world.find().error().message(), Catch::Contains("401: log in"));
}
