// SPDX-License-Identifier: Apache-2.0
// Azure: the signature of the account's key, and every source of tokens, on the wire, against a
// server on loopback.
#include <sys/stat.h>

#include "auth/azure/context.hpp"
#include "auth/azure/shared_key.hpp"
#include "base/crypto.hpp"
#include "base/json.hpp"
#include "support/auth_world.hpp"
#include "support/dialect.hpp"

using namespace streamer::core;
using namespace streamer::test;
using namespace std::chrono_literals;

namespace {

// The emulator's, which Microsoft published.
constexpr const char* kEmulatorKey =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

std::string signature(HttpRequest request) {
  const AzureKey key = *read_azure_key("devstoreaccount1", kEmulatorKey);
  request.headers.push_back({"x-ms-version", "2021-12-02"});
  sign_shared_key(request, key, *parse_http_date("Fri, 24 May 2013 00:00:00 GMT"));
  constexpr std::string_view kBefore = "SharedKey devstoreaccount1:";
  REQUIRE(request.headers.back().value.starts_with(kBefore));
  return request.headers.back().value.substr(kBefore.size());
}

class AzureWorld : public AuthWorld<AzureContext> {
 public:
  explicit AzureWorld(WireServer::Handler handler = {}) : AuthWorld(std::move(handler)) {
    variables["AZURE_AUTHORITY_HOST"] = server.url() + "/";
    variables["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = server.url();
    context.pause = [this](Milliseconds time) { paused += time; };
  }
  Result<BearerToken> find() const { return find_azure_token(context); }

  Milliseconds paused{0};
};

std::string azure_token(const std::string& name) {
  return answer(
      200,
      fmt::format(R"({{"token_type":"Bearer","expires_in":"3599","access_token":"{}"}})", name));
}

}  // namespace

TEST_CASE("SharedKey: known answers", "[azure]") {
  HttpRequest request;
  request.path = "/devstoreaccount1/container/blob.txt";
  request.headers = {{"x-ms-range", "bytes=0-9"}};
  CHECK(signature(request) == "vui+YMHlNGn8PTc6HVbyBUny12p9e6Z07IOY00cDZ3I=");
  request.headers = {{"Range", "bytes=0-9"}};
  CHECK(signature(request) == "+l5UjGhLHn9HKnD238TFx57LrB3imuNKOkgvCeNZN9E=");
  request.headers.clear();
  request.path = "/devstoreaccount1/container";
  request.query = canonical_query(
      {{"restype", "container"}, {"comp", "list"}, {"prefix", "a/b"}, {"maxresults", "2"}});
  CHECK(signature(request) == "Fl7RT8BWBu3a9nGO8NwIGo6Pt9dKmQqYrGSQsHNxoqo=");
  request.query.clear();
  request.path = "/container/a%20b%2Bc/%C3%A9.bin";
  request.headers = {{"If-Match", "\"0x8D4BCC2E4835CD0\""}, {"x-ms-range", "bytes=0-9"}};
  CHECK(signature(request) == "7QimgaL8ADPtzJcOZYh7iV9+jPVjWZZFcwy1ZftXy0E=");
}

TEST_CASE("SharedKey: the answer of a third party, with more headers", "[azure]") {
  HttpRequest request;
  request.path = "/container/directory%2Ffile_00.parquet";
  request.headers = {{"Date", "Tue, 31 Dec 2019 07:18:50 GMT"},
                     {"If-Unmodified-Since", "Tue, 15 Dec 2019 07:18:50 GMT"},
                     {"x-ms-client-request-id", "b2a11e2a-65a7-48ed-a643-229255139452"},
                     {"x-ms-range", " bytes=25-125 "},
                     {"x-ms-version", "2019-02-02"}};
  const std::string text = string_to_sign(request, "mock-account");
  CHECK(base64_encode(as_text(hmac_sha256("mock-key", text))) ==
        "ZwovG4J+nCDc3w58WPei6fvJBQsO96YojteJncy0wwI=");
  CHECK_FALSE(read_azure_key("a", "no base64!"));
}

TEST_CASE("nothing configured for Azure: the error names every source", "[azure]") {
  AzureWorld world([](const WireRequest&, Wire& wire) { wire.send(answer(400, "")); });
  ::setenv("PATH", "/nowhere", 1);
  const auto found = world.find();
  ::setenv("PATH", "/usr/local/bin:/usr/bin:/bin", 1);
  REQUIRE_FALSE(found);
  CHECK(found.error().kind() == ErrorKind::permission_denied);
  for (const char* const source :
       {"environment", "workload identity", "managed identity", "Azure CLI", "Azure PowerShell",
        "Azure Developer CLI", "azure_credentials=anonymous"})
    CHECK_THAT(found.error().message(), Catch::Contains(source));
}

TEST_CASE("a service principal, by its secret", "[azure]") {
  AzureWorld world([](const WireRequest& request, Wire& wire) {
    const bool is_right = request.path == "/tenant-1/oauth2/v2.0/token" &&
                          form_value(request, "grant_type") == "client_credentials" &&
                          form_value(request, "client_id") == "app" &&
                          form_value(request, "client_secret") == "s~&+" &&
                          form_value(request, "scope") == "https://storage.azure.com/.default";
    wire.send(is_right
                  ? azure_token("principal")
                  : answer(401, R"({"error":"invalid_client","error_description":"AADSTS7000215: )"
                                R"(Invalid client secret provided."})"));
  });
  world.variables["AZURE_TENANT_ID"] = "tenant-1";
  world.variables["AZURE_CLIENT_ID"] = "app";
  world.variables["AZURE_CLIENT_SECRET"] = "s~&+";
  const auto found = world.find();
  if (!found) FAIL(found.error().line());
  CHECK(found->token.reveal() == "principal");
  REQUIRE(found->expires);
  CHECK(*found->expires - std::chrono::system_clock::now() > 59min);
  world.variables["AZURE_CLIENT_SECRET"] = "canary";
  const auto refused = world.find();
  REQUIRE_FALSE(refused);
  CHECK_THAT(refused.error().message(), Catch::Contains("AADSTS7000215"));
  CHECK(refused.error().line().find("canary") == std::string::npos);
  world.variables["AZURE_TENANT_ID"] = "../other";
  CHECK(world.find().error().kind() == ErrorKind::invalid_argument);
  world.variables["AZURE_TENANT_ID"] = "tenant-1";
  world.variables["AZURE_AUTHORITY_HOST"] = "http://login.example.com";
  CHECK(world.find().error().kind() == ErrorKind::invalid_argument);
  // Without a scheme it is https, which nobody speaks here.
  world.variables["AZURE_AUTHORITY_HOST"] = world.server.url().substr(7) + "/ ";
  CHECK(world.find().error().kind() == ErrorKind::io);
}

TEST_CASE("a service principal, by its certificate", "[azure]") {
  // Made now, by the tool that everybody uses.
  AzureWorld world([](const WireRequest& request, Wire& wire) {
    const auto claims = claims_of(form_value(request, "client_assertion"));
    const bool is_right = !claims.empty() && claims.at("iss") == "app" &&
                          claims.at("sub") == "app" &&
                          claims.at("aud").ends_with("/tenant-1/oauth2/v2.0/token") &&
                          form_value(request, "client_assertion_type") ==
                              "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    wire.send(is_right ? azure_token("certified") : answer(401, R"({"error":"invalid_client"})"));
  });
  const std::string key = world.write("key.pem", TestKey::instance().pem());
  const std::string certificate = world.write("all.pem", "");
  const std::string command = fmt::format(
      "openssl req -x509 -key {0} -out {1} -days 2 -subj /CN=test 2>/dev/null && cat {0} >> {1}",
      key, certificate);
  REQUIRE(std::system(command.c_str()) == 0);
  world.variables["AZURE_TENANT_ID"] = "tenant-1";
  world.variables["AZURE_CLIENT_ID"] = "app";
  world.variables["AZURE_CLIENT_CERTIFICATE_PATH"] = certificate;
  const auto found = world.find();
  if (!found) FAIL(found.error().line());
  CHECK(found->token.reveal() == "certified");
  world.variables["AZURE_CLIENT_CERTIFICATE_PATH"] = key;
  CHECK_THAT(world.find().error().message(), Catch::Contains("certificate"));
}

namespace {

// "key, certificate and those that vouch for it" of one test, made by the tool that everybody uses.
void run(const std::string& command) {
  INFO(command);
  REQUIRE(std::system((command + " 2>/dev/null").c_str()) == 0);
}

// The members of a token's header, "x5c" with the texts of its array joined by commas.
std::map<std::string, std::string> header_of(const std::string& jwt) {
  std::string text = jwt.substr(0, jwt.find('.'));
  std::replace(text.begin(), text.end(), '-', '+');
  std::replace(text.begin(), text.end(), '_', '/');
  text.resize((text.size() + 3) / 4 * 4, '=');
  const std::string json = base64_decode(text).value_or("");
  std::map<std::string, std::string> members;
  const auto read = read_json(JsonText(json), [&](JsonValue& top) {
    return top.members([&](std::string_view key, JsonValue& member) -> Result<void> {
      std::string& value = members[std::string(key)];
      if (TRY(member.kind()) == JsonKind::string) {
        value = std::string(TRY(member.string()));
        return {};
      }
      return member.elements([&](JsonValue& one) -> Result<void> {
        value += (value.empty() ? "" : ",") + std::string(TRY(one.string()));
        return {};
      });
    });
  });
  CHECK(read);
  return members;
}

}  // namespace

TEST_CASE("a certificate with a password, as PEM and as PFX, and its chain", "[azure]") {
  std::map<std::string, std::string> header;
  AzureWorld world([&](const WireRequest& request, Wire& wire) {
    header = header_of(form_value(request, "client_assertion"));
    const bool is_right = !claims_of(form_value(request, "client_assertion")).empty();
    wire.send(is_right ? azure_token("certified") : answer(401, R"({"error":"invalid_client"})"));
  });
  const std::string key = world.write("key.pem", TestKey::instance().pem());
  const auto path = [&](const std::string& name) { return world.write(name, ""); };
  const std::string crt = path("a.crt");
  const std::string ca = path("ca.crt");
  const std::string pem = path("encrypted.pem");
  const std::string pfx = path("a.pfx");
  const std::string old = path("old.pfx");
  run(fmt::format("openssl req -x509 -key {} -out {} -days 2 -subj /CN=test", key, crt));
  run(
      fmt::format("openssl req -x509 -newkey rsa:2048 -nodes -keyout {}.key -out {} -days 2 -subj "
                  "/CN=ca",
                  ca, ca));
  // The certificate in front of the key, others behind: any order will do.
  run(
      fmt::format("cat {} > {} && openssl pkcs8 -topk8 -in {} -passout pass:canary >> {} && cat {} "
                  ">> {}",
                  crt, pem, key, pem, ca, pem));
  run(
      fmt::format("openssl pkcs12 -export -inkey {} -in {} -certfile {} -out {} -passout "
                  "pass:canary",
                  key, crt, ca, pfx));
  world.variables["AZURE_TENANT_ID"] = "tenant-1";
  world.variables["AZURE_CLIENT_ID"] = "app";
  for (const std::string& file : {pem, pfx}) {
    INFO(file);
    world.variables["AZURE_CLIENT_CERTIFICATE_PATH"] = file;
    world.variables["AZURE_CLIENT_SEND_CERTIFICATE_CHAIN"] = "";
    world.variables["AZURE_CLIENT_CERTIFICATE_PASSWORD"] = "canary";
    const auto found = world.find();
    if (!found) FAIL(found.error().line());
    CHECK(found->token.reveal() == "certified");
    CHECK(header.at("x5t").size() == 27);
    CHECK_FALSE(header.contains("x5c"));
    world.variables["AZURE_CLIENT_SEND_CERTIFICATE_CHAIN"] = "true";
    REQUIRE(world.find());
    const std::string& chain = header.at("x5c");
    CHECK(chain.starts_with("MII"));
    CHECK(std::count(chain.begin(), chain.end(), ',') == 1);
    for (const char* const password : {"", "canary-wrong"}) {
      world.variables["AZURE_CLIENT_CERTIFICATE_PASSWORD"] = password;
      const auto refused = world.find();
      REQUIRE_FALSE(refused);
      INFO(refused.error().line());
      CHECK(refused.error().kind() == ErrorKind::invalid_argument);
      CHECK_THAT(refused.error().line(),
                 Catch::Contains(*password == '\0' ? "no password was given" : "does not open") &&
                     Catch::Contains("AZURE_CLIENT_CERTIFICATE_PASSWORD") &&
                     !Catch::Contains("canary"));
    }
  }
  // Without a password, and what is none of it.
  run(fmt::format("openssl pkcs12 -export -inkey {} -in {} -out {} -passout pass:", key, crt, pfx));
  world.variables["AZURE_CLIENT_CERTIFICATE_PASSWORD"] = "";
  CHECK(world.find());
  const auto says = [&](const std::string& file, const std::string& words) {
    world.variables["AZURE_CLIENT_CERTIFICATE_PATH"] = file;
    const auto refused = world.find();
    REQUIRE_FALSE(refused);
    CHECK_THAT(refused.error().line(), Catch::Contains(words));
  };
  says(world.write("text", "hello"), "neither a PEM text nor a PKCS #12");
  says(crt, "no private key");
  run(fmt::format("cat {} {} > {}", key, ca, old));
  says(old, "does not belong");
}

TEST_CASE("workload identity: the cluster's token, read at every fetch", "[azure]") {
  AzureWorld world([](const WireRequest& request, Wire& wire) {
    wire.send(azure_token("for-" + form_value(request, "client_assertion")));
  });
  world.variables["AZURE_TENANT_ID"] = "t";
  world.variables["AZURE_CLIENT_ID"] = "app";
  world.variables["AZURE_FEDERATED_TOKEN_FILE"] = world.write("token", "first\n");
  CHECK(world.find()->token.reveal() == "for-first");
  world.write("token", "second");
  CHECK(world.find()->token.reveal() == "for-second");
}

TEST_CASE("managed identity: the machine's, with its pauses", "[azure]") {
  std::atomic<int> turn{0};
  AzureWorld world([&](const WireRequest& request, Wire& wire) {
    if (request.header("metadata") != "true" ||
        request.query !=
            "api-version=2018-02-01&client_id=app&resource=https%3A%2F%2Fstorage.azure.com")
      return wire.send(answer(400, ""));
    // It is being replaced.
    if (turn++ < 3) return wire.send(answer(410, ""));
    wire.send(answer(200, R"({"access_token":"machine","expires_on":"4000000000"})"));
  });
  world.variables["AZURE_CLIENT_ID"] = "app";
  const auto found = world.find();
  if (!found) FAIL(found.error().line());
  CHECK(found->token.reveal() == "machine");
  CHECK(found->expires == SystemTime(4'000'000'000s));
  CHECK(world.paused == 14s);
}

TEST_CASE("managed identity: app service, its older form, cloud shell", "[azure]") {
  AzureWorld world([](const WireRequest& request, Wire& wire) {
    if (request.header("x-identity-header") == "h" &&
        request.query.find("api-version=2019-08-01") != std::string::npos)
      return wire.send(azure_token("service"));
    if (request.header("secret") == "s" &&
        request.query.find("api-version=2017-09-01") != std::string::npos)
      return wire.send(azure_token("older"));
    if (request.method == "POST" && request.header("metadata") == "true" &&
        form_value(request, "resource") == "https://storage.azure.com")
      return wire.send(azure_token("shell"));
    wire.send(answer(403, ""));
  });
  const std::string url = world.server.url() + "/token";
  world.variables["IDENTITY_ENDPOINT"] = url;
  world.variables["IDENTITY_HEADER"] = "h";
  CHECK(world.find()->token.reveal() == "service");
  world.variables = {{"MSI_ENDPOINT", url}, {"MSI_SECRET", "s"}};
  CHECK(world.find()->token.reveal() == "older");
  world.variables = {{"MSI_ENDPOINT", url}};
  CHECK(world.find()->token.reveal() == "shell");
  // An endpoint that nothing belongs to is nobody's, whatever else there is.
  world.variables["IDENTITY_ENDPOINT"] = url;
  world.variables["AZURE_TOKEN_CREDENTIALS"] = "prod";
  CHECK_THAT(world.find().error().message(), Catch::Contains("neither IDENTITY_HEADER"));
  world.variables["IDENTITY_HEADER"] = "h";
  world.variables["IDENTITY_SERVER_THUMBPRINT"] = "t";
  CHECK_THAT(world.find().error().message(), Catch::Contains("Service Fabric"));
}

TEST_CASE("managed identity of Arc: only its own keys are sent", "[azure]") {
  std::string realm;
  AzureWorld world([&](const WireRequest& request, Wire& wire) {
    if (request.header("authorization") == "Basic arc-key") return wire.send(azure_token("arc"));
    wire.send(answer(401, "", "WWW-Authenticate: Basic realm=" + realm + "\r\n"));
  });
  world.variables["IDENTITY_ENDPOINT"] = world.server.url() + "/metadata/identity/oauth2/token";
  world.variables["IMDS_ENDPOINT"] = world.server.url();
  realm = world.write("tokens/one.key", "arc-key");
  world.context.arc_folder = realm.substr(0, realm.rfind('/') + 1);
  const auto found = world.find();
  if (!found) FAIL(found.error().line());
  CHECK(found->token.reveal() == "arc");
  const std::string folder = world.context.arc_folder;
  for (const std::string& other : {std::string("/etc/passwd"), folder + "../secret.key",
                                   folder + "one.txt", folder + "below/one.key", std::string()}) {
    realm = other;
    INFO(realm);
    CHECK(world.find().error().kind() == ErrorKind::permission_denied);
  }
}

TEST_CASE("Azure CLI comes last, and only where it may", "[azure]") {
  AzureWorld world([](const WireRequest&, Wire& wire) { wire.send(answer(400, "")); });
  const std::string program = world.write(
      "bin/az",
      "#!/bin/sh\necho '{\"accessToken\":\"cli\",\"expiresOn\":\"2030-01-02 03:04:05.000000\","
      "\"expires_on\":1900000000,\"tokenType\":\"Bearer\"}'\n");
  REQUIRE(::chmod(program.c_str(), 0700) == 0);
  const std::string path = program.substr(0, program.rfind('/')) + ":/usr/bin:/bin";
  ::setenv("PATH", path.c_str(), 1);
  const auto found = world.find();
  world.variables["AZURE_TOKEN_CREDENTIALS"] = " prod ";
  const auto narrowed = world.find();
  world.variables["AZURE_TOKEN_CREDENTIALS"] = "azureclicredential";
  const auto named = world.find();
  ::setenv("PATH", "/usr/local/bin:/usr/bin:/bin", 1);
  if (!found) FAIL(found.error().line());
  CHECK(found->token.reveal() == "cli");
  CHECK(found->expires == SystemTime(1'900'000'000s));
  CHECK(narrowed.error().kind() == ErrorKind::permission_denied);
  CHECK(named->token.reveal() == "cli");
  world.variables["AZURE_TOKEN_CREDENTIALS"] = "nonsense";
  CHECK_THAT(world.find().error().message(),
             Catch::Contains("nonsense") && Catch::Contains("AzureDeveloperCliCredential"));
}

TEST_CASE("tools of developers: CLI, then PowerShell, then the developer CLI", "[azure]") {
  AzureWorld world([](const WireRequest&, Wire& wire) { wire.send(answer(400, "")); });
  const auto tool = [&](const std::string& name, const std::string& script) {
    const std::string path = world.write("bin/" + name, "#!/bin/sh\n" + script + "\n");
    REQUIRE(::chmod(path.c_str(), 0700) == 0);
    return path;
  };
  const std::string azd = tool("azd",
                               "[ \"$*\" = \"auth token --output json --no-prompt --scope "
                               "https://storage.azure.com/.default\" ] && echo "
                               "'{\"token\":\"azd\",\"expiresOn\":\"2030-01-02T03:04:05Z\"}'");
  const std::string path = azd.substr(0, azd.rfind('/')) + ":/usr/bin:/bin";
  ::setenv("PATH", path.c_str(), 1);
  const auto only = world.find();
  tool("pwsh",
       "case \"$4\" in *Get-AzAccessToken*) echo "
       "'{\"token\":\"pwsh\",\"expiresOn\":1900000000}';; esac");
  const auto second = world.find();
  // A tool that does not work is as good as none.
  tool("az", "echo '{\"error\":1}'; exit 1");
  const auto still = world.find();
  tool("az", "echo '{\"accessToken\":\"az\",\"expires_on\":1900000000}'");
  const auto first = world.find();
  world.variables["AZURE_TOKEN_CREDENTIALS"] = "AzureDeveloperCliCredential";
  const auto named = world.find();
  ::setenv("PATH", "/usr/local/bin:/usr/bin:/bin", 1);
  if (!only) FAIL(only.error().line());
  CHECK(only->token.reveal() == "azd");
  CHECK(only->expires == parse_iso("2030-01-02T03:04:05Z"));
  CHECK(second->token.reveal() == "pwsh");
  CHECK(second->expires == SystemTime(1'900'000'000s));
  CHECK(still->token.reveal() == "pwsh");
  CHECK(first->token.reveal() == "az");
  CHECK(named->token.reveal() == "azd");
}
