// SPDX-License-Identifier: Apache-2.0
// What Google, Azure and plain servers do their own way: listings, checksums, redirects, and where
// credentials may go.
#include <netinet/in.h>
#include <sys/socket.h>

#include <map>
#include <mutex>
#include <thread>

#include "base/unique_fd.hpp"
#include "capi/abi/all_settings.hpp"
#include "checkpoint/checkpoint.hpp"
#include "storage/azure_store.hpp"
#include "storage/gcs/store.hpp"
#include "storage/mirror_store.hpp"
#include "storage/store.hpp"
#include "support/auth_world.hpp"
#include "support/safetensors_text.hpp"
#include "support/store_world.hpp"

using namespace streamer::core;
using namespace streamer::test;

namespace {

using Values = std::vector<std::pair<std::string, std::string>>;

Settings settings_of(const Values& values) {
  Settings settings;
  for (const auto& [name, value] : values)
    REQUIRE(streamer::capi::set_by_name(settings, name, value));
  return settings;
}

// The store for text, and what it does with it.
struct Reached {
  Reached(const Settings& settings, const std::string& text) : stores(settings) {
    uri = *parse_uri(text);
    auto found = stores.of(uri);
    if (!found) FAIL(found.error().line());
    store = *found;
  }
  Stores stores;
  Uri uri;
  Store* store = nullptr;
};

std::string blobs(const std::string& content, const std::string& marker = "") {
  return answer(200,
                "\xEF\xBB\xBF<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults "
                "ServiceEndpoint=\"http://x/\"><Blobs>" +
                    content + "</Blobs><NextMarker>" + marker +
                    "</NextMarker></EnumerationResults>");
}

std::string blob(const std::string& name, const std::string& more = "") {
  return fmt::format(
      "<Blob><Name>{}</Name><Properties><Content-Length>7</Content-Length>{}</Properties></Blob>",
      name, more);
}

Values azure_values(const std::string& url) {
  return {{"azure_endpoint", url + "/acc"},
          {"azure_account_name", "acc"},
          {"azure_credentials", "key:a2V5"},
          {"stall_timeout_ms", "2000"},
          {"debug.max_attempts", "2"}};
}

}  // namespace

TEST_CASE("a listing of Azure: markers, encoded names, folders", "[azure]") {
  std::atomic<int> turn{0};
  WireServer server([&](const WireRequest& request, Wire& wire) {
    const bool has_marker = request.query.find("marker=next%2F1") != std::string::npos;
    const bool is_list = request.query.find("comp=list") != std::string::npos &&
                         request.query.find("restype=container") != std::string::npos &&
                         request.query.find("prefix=m%2F") != std::string::npos;
    if (!is_list || request.path != "/acc/c") return wire.send(answer(400, ""));
    // The first page is empty, and not the last.
    if (turn++ == 0) return wire.send(blobs("", "next/1"));
    if (!has_marker) return wire.send(answer(400, ""));
    wire.send(blobs(blob("m/plain+name") +
                    "<Blob><Name Encoded=\"true\">m/a%0Ab+c%25</Name><Properties>"
                    "<Content-Length>9</Content-Length></Properties></Blob>" +
                    blob("m/folder", "<ResourceType>directory</ResourceType>") +
                    "<BlobPrefix><Name>m/sub/</Name></BlobPrefix>"));
  });
  Reached reached(settings_of(azure_values(server.url())), "az://c/m/");
  const auto listed = reached.store->list(reached.uri, ListDepth::children);
  if (!listed) FAIL(listed.error().line());
  REQUIRE(listed->size() == 3);
  CHECK((*listed)[0].uri.text() == "az://c/m/a\nb+c%");
  CHECK((*listed)[0].size == 9);
  CHECK((*listed)[1].uri.text() == "az://c/m/plain+name");
  CHECK((*listed)[2].uri.text() == "az://c/m/sub/");
  CHECK((*listed)[2].is_folder);
}

TEST_CASE("listings of Azure that cannot be", "[azure]") {
  for (const auto& [page, kind] : std::vector<std::pair<std::string, ErrorKind>>{
           {blobs("<Blob><Name>x</Name></Blob>"), ErrorKind::io},
           {blobs("<Blob><Properties/></Blob>"), ErrorKind::io},
           {blobs("<Blob><Name Encoded=\"true\">%zz</Name></Blob>"), ErrorKind::io},
           {answer(200, "<html/>"), ErrorKind::io},
           {blobs("", "the same"), ErrorKind::io},
           {answer(200, "<Error><Code>ServerBusy</Code></Error>"), ErrorKind::io},
           {answer(404, "<Error><Code>ContainerNotFound</Code></Error>"), ErrorKind::not_found},
           {answer(403, "", "x-ms-error-code: AuthorizationFailure\r\n"),
            ErrorKind::permission_denied}}) {
    WireServer server([page = page](const WireRequest&, Wire& wire) { wire.send(page); });
    Reached reached(settings_of(azure_values(server.url())), "az://c/m/");
    const auto listed = reached.store->list(reached.uri, ListDepth::all);
    REQUIRE_FALSE(listed);
    INFO(listed.error().line());
    CHECK(listed.error().kind() == kind);
  }
}

TEST_CASE("Azure: connection strings, SAS tokens and keys, in their order", "[azure]") {
  std::map<std::string, std::string> variables;
  const Environment environment = [&](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
  HttpClient http;
  const auto read = [&](const Values& values = {}) {
    return read_azure_config(settings_of(values), environment, http);
  };
  const auto config =
      read({{"azure_credentials",
             "connection_string:DefaultEndpointsProtocol=https;AccountName=one;AccountKey=a2V5;"
             "EndpointSuffix=core.chinacloudapi.cn"}});
  REQUIRE(config);
  CHECK(config->account == "one");
  CHECK(config->suffix == "core.chinacloudapi.cn");
  REQUIRE(config->key);
  CHECK(config->key->key.reveal() == "key");
  const auto emulator =
      read({{"azure_credentials", "connection_string:UseDevelopmentStorage=true"}});
  REQUIRE(emulator);
  CHECK(emulator->endpoint->origin == "http://127.0.0.1:10000");
  CHECK(emulator->endpoint->base_path == "/devstoreaccount1");
  // Where a key of the program goes is not a matter of the environment.
  variables["AZURE_STORAGE_ENDPOINT"] = "https://elsewhere.example.com";
  variables["AZURE_STORAGE_ENDPOINT_SUFFIX"] = "example.com";
  CHECK(read({{"azure_credentials", "connection_string:UseDevelopmentStorage=true"}})
            ->endpoint->origin == "http://127.0.0.1:10000");
  CHECK_FALSE(read({{"azure_credentials",
                     "connection_string:AccountName=one;AccountKey=a2V5;EndpointSuffix=x.net"}})
                  ->endpoint);
  // As the portal shows it, without a suffix, it is of Azure's own domain.
  const auto own =
      read({{"azure_credentials", "connection_string:AccountName=one;AccountKey=a2V5"}});
  CHECK_FALSE(own->endpoint);
  CHECK(own->suffix == "core.windows.net");
  // Another credential goes where the variables say, as AWS's do.
  CHECK(
      read({{"azure_credentials", "key:a2V5"}, {"azure_account_name", "one"}})->endpoint->origin ==
      "https://elsewhere.example.com");
  variables.clear();
  // What a variable says of the endpoint goes with a string from a variable, not with the
  // program's.
  ::setenv("STREAMER_AZURE_ENDPOINT", "https://beside.example.com", 1);
  CHECK_FALSE(
      read({{"azure_credentials", "connection_string:AccountName=one;AccountKey=a2V5"}})->endpoint);
  ::setenv("STREAMER_AZURE_CREDENTIALS",
           "connection_string:AccountKey=a2V5;BlobEndpoint=https://one.example.com", 1);
  CHECK(read()->endpoint->origin == "https://beside.example.com");
  ::unsetenv("STREAMER_AZURE_ENDPOINT");
  CHECK(read()->endpoint->origin == "https://one.example.com");
  // A token in the program's endpoint counts before credentials of a variable.
  CHECK(read({{"azure_endpoint", "https://two.example.com?sv=3&sig=u"}})->sas.reveal() ==
        "sv=3&sig=u");
  CHECK(read({{"azure_endpoint", "https://two.example.com?sv=3&sig=u"},
              {"azure_credentials", "sas:sv=4&sig=v"}})
            ->sas.reveal() == "sv=4&sig=v");
  ::unsetenv("STREAMER_AZURE_CREDENTIALS");
  variables["AZURE_STORAGE_USE_EMULATOR"] = "true";
  CHECK(read()->account == "devstoreaccount1");
  variables = {{"AZURE_STORAGE_ACCESS_KEY", "a2V5"}, {"AZURE_STORAGE_SAS_KEY", "?sv=1&sig=s"}};
  CHECK(read()->key);
  // What is set in code wins over every variable.
  const auto sas = read({{"azure_credentials", "sas:sv=2&sig=t"}});
  CHECK_FALSE(sas->key);
  CHECK(sas->sas.reveal() == "sv=2&sig=t");
  variables.erase("AZURE_STORAGE_ACCESS_KEY");
  CHECK(read()->sas.reveal() == "sv=1&sig=s");
  // A mounted file ends in a line break.
  variables["AZURE_STORAGE_SAS_KEY"] = "?sv=1&sig=s\n";
  REQUIRE(read());
  CHECK(read()->sas.reveal() == "sv=1&sig=s");
  for (const Values& bad : std::vector<Values>{{{"azure_credentials", "connection_string:canary"}},
                                               {{"azure_credentials", "key:canary!"}},
                                               {{"azure_credentials", "sas:sig=canary canary"}},
                                               {{"azure_account_name", "Upper"}},
                                               {{"azure_endpoint", "ftp://x"}}}) {
    const auto refused = read(bad);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind() == ErrorKind::invalid_argument);
    CHECK_THAT(refused.error().message(), Catch::Contains(bad[0].first));
    CHECK(refused.error().line().find("canary") == std::string::npos);
  }
}

TEST_CASE("Azure: connection strings as the SDK reads them", "[azure]") {
  HttpClient http;
  std::map<std::string, std::string> variables;
  const Environment environment = [&](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
  const auto read = [&](const std::string& text) {
    auto config = read_azure_config(
        settings_of({{"azure_credentials", "connection_string:" + text}}), environment, http);
    if (!config) FAIL(config.error().line());
    return *std::move(config);
  };
  // Names in any case, blanks and a trailing semicolon.
  const AzureConfig lower = read(
      "accountname=one; ACCOUNTKEY=a2V5;endpointsuffix=core.chinacloudapi.cn;"
      "defaultEndpointsProtocol=HTTPS;");
  CHECK(lower.account == "one");
  CHECK(lower.suffix == "core.chinacloudapi.cn");
  // An endpoint that brings its own token.
  const AzureConfig sas = read("blobEndpoint=https://one.blob.core.windows.net/?sv=1&sig=a%3D");
  CHECK(sas.account == "one");
  CHECK(sas.endpoint->origin == "https://one.blob.core.windows.net");
  CHECK(sas.endpoint->base_path.empty());
  CHECK(sas.sas.reveal() == "sv=1&sig=a%3D");
  CHECK_FALSE(sas.key);
  // What the string says itself goes before that.
  CHECK(read("BlobEndpoint=https://one.blob.core.windows.net?sig=b;SharedAccessSignature=sig=c")
            .sas.reveal() == "sig=c");
  CHECK(read("BlobEndpoint=https://one.blob.core.windows.net?sig=b;AccountName=one;AccountKey=a2V5")
            .key);
  CHECK_FALSE(read("DefaultEndpointsProtocol=http;AccountName=one;AccountKey=a2V5").endpoint);
  CHECK(read("DefaultEndpointsProtocol=http;AccountName=one;AccountKey=a2V5;EndpointSuffix=x.test")
            .endpoint->origin == "http://one.blob.x.test");
  variables["AZURE_STORAGE_ENDPOINT"] = "https://two.blob.core.windows.net?sv=2&sig=d";
  const AzureConfig variable = *read_azure_config(settings_of({}), environment, http);
  CHECK(variable.endpoint->origin == "https://two.blob.core.windows.net");
  CHECK(variable.sas.reveal() == "sv=2&sig=d");
  variables["AZURE_STORAGE_KEY"] = "a2V5";
  CHECK(read_azure_config(settings_of({}), environment, http)->key);
}

TEST_CASE("Azure: a key is for its own account, a token for https only", "[azure]") {
  const Reached other(
      settings_of({{"azure_account_name", "one"}, {"azure_credentials", "key:a2V5"}}),
      "https://two.blob.core.windows.net/c/x");
  CHECK_THAT(other.store->open(other.uri, 1).error().message(),
             Catch::Contains("account one") && Catch::Contains("two"));
  const Reached plain(settings_of({{"azure_endpoint", "http://store.example.com"},
                                   {"azure_credentials", "token:canary"}}),
                      "az://c/x");
  const auto refused = plain.store->open(plain.uri, 1);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().kind() == ErrorKind::invalid_argument);
  const Reached bearer(settings_of({{"azure_endpoint", "http://store.example.com"},
                                    {"azure_credentials", "sas:sv=1&sig=canary"}}),
                       "az://c/x");
  CHECK(bearer.store->open(bearer.uri, 1).error().kind() == ErrorKind::invalid_argument);
  const Reached nameless(settings_of({{"azure_credentials", "key:a2V5"}}), "az://c/x");
  CHECK_THAT(nameless.store->open(nameless.uri, 1).error().message(),
             Catch::Contains("azure_account_name"));
}

TEST_CASE("Google: emulators go without credentials, and objects stored as gzip are refused",
          "[google]") {
  std::map<std::string, std::string> variables;
  const Environment environment = [&](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
  HttpClient http;
  const auto read = [&](const Values& values = {}) {
    return *read_gcs_config(settings_of(values), environment, http);
  };
  CHECK(read().endpoint.origin == "https://storage.googleapis.com");
  CHECK_FALSE(read().is_unsigned);
  CHECK(read({{"gcs_credentials", "anonymous"}}).is_unsigned);
  variables["STORAGE_EMULATOR_HOST"] = "localhost:4443";
  CHECK(read().endpoint.origin == "http://localhost:4443");
  CHECK(read().is_unsigned);
  // As inference servers' own tests set it, for public buckets.
  variables["CLOUD_STORAGE_EMULATOR_ENDPOINT"] = "https://storage.googleapis.com";
  CHECK(read().endpoint.origin == "https://storage.googleapis.com");
  CHECK(read().is_unsigned);

  WireServer server([](const WireRequest& request, Wire& wire) {
    // Signed by nobody, as Google's front end changes it.
    const bool is_raw =
        request.header("accept-encoding") == "gzip" &&
        request.header("authorization").find("accept-encoding") == std::string::npos;
    wire.send(is_raw ? "HTTP/1.1 206 OK\r\nETag: \"e\"\r\nContent-Encoding: gzip\r\n"
                       "Content-Range: bytes 0-0/5\r\nContent-Length: 1\r\n\r\nx"
                     : answer(400, ""));
  });
  const Reached reached(
      settings_of({{"gcs_endpoint", server.url()}, {"gcs_credentials", "hmac:GOOG1E:s"}}),
      "gs://b/x");
  const auto opened = reached.store->open(reached.uri, 1);
  REQUIRE_FALSE(opened);
  CHECK(opened.error().kind() == ErrorKind::unsupported);
  CHECK_THAT(opened.error().message(), Catch::Contains("gzip"));
}

TEST_CASE("Google: the storage of the credentials' universe is asked, and no other", "[google]") {
  const TemporaryFolder folder;
  const auto file = write_text(folder.path() / "account.json",
                               service_account_file(R"(,"universe_domain":"apis.example.com")"));
  std::map<std::string, std::string> variables = {
      {"GOOGLE_APPLICATION_CREDENTIALS", file.string()}};
  const Environment environment = [&](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
  HttpClient http;
  const auto origin = [&](const Values& values = {}) {
    return read_gcs_config(settings_of(values), environment, http)->endpoint.origin;
  };
  CHECK(origin() == "https://storage.apis.example.com");
  CHECK(origin({{"gcs_credentials", "token:t"}}) == "https://storage.googleapis.com");
  CHECK(origin({{"gcs_credentials", "anonymous"}}) == "https://storage.googleapis.com");
  const auto refusal = [&](const std::string& uri, const Values& values = {}) {
    auto client = std::make_shared<HttpClient>();
    GcsConfig config = *read_gcs_config(settings_of(values), environment, *client);
    GcsStore store(std::move(config), RemoteLimits(), client);
    const auto made = store.range_request(*parse_uri(uri), {0, 1}, "");
    return made ? std::string() : made.error().message();
  };
  CHECK(refusal("gs://b/k") == "");
  CHECK_THAT(refusal("https://storage.googleapis.com/b/k"), Catch::Contains("universe"));
  CHECK_THAT(refusal("gs://b/k", {{"gcs_endpoint", "https://storage.googleapis.com"}}),
             Catch::Contains("apis.example.com") && Catch::Contains("no token is sent"));
  CHECK(refusal("gs://b/k", {{"gcs_endpoint", "https://private.example.org"}}) == "");
  // The environment may say another one: then these credentials are of no use there.
  variables["GOOGLE_CLOUD_UNIVERSE_DOMAIN"] = "other.example.com";
  CHECK(origin() == "https://storage.other.example.com");
  CHECK_THAT(refusal("gs://b/k"), Catch::Contains("storage.other.example.com"));
}

TEST_CASE("a token for this machine is not sent to a proxy in clear", "[google]") {
  const Environment environment = [](const char* name) -> std::optional<std::string> {
    if (std::string_view(name).ends_with("_proxy")) return "http://proxy.example.com:3128";
    return std::nullopt;
  };
  const auto proxy_of = [&](const Values& values) {
    auto client = std::make_shared<HttpClient>();
    GcsConfig config = *read_gcs_config(settings_of(values), environment, *client);
    GcsStore store(std::move(config), RemoteLimits(), client);
    return store.range_request(*parse_uri("gs://b/k"), {0, 1}, "")->http.route->proxy;
  };
  const char* const proxy = "http://proxy.example.com:3128";
  CHECK(proxy_of({{"gcs_credentials", "token:t"}, {"gcs_endpoint", "http://localhost:9"}}).empty());
  CHECK(proxy_of({{"gcs_credentials", "token:t"}, {"gcs_endpoint", "https://localhost:9"}}) ==
        proxy);
  CHECK(proxy_of({{"gcs_credentials", "anonymous"}, {"gcs_endpoint", "http://localhost:9"}}) ==
        proxy);
}

TEST_CASE("Google: HMAC keys sign like AWS, and readers who pay say so", "[google]") {
  StoreWorld world("127.0.0.1", Dialect::google);
  world.put("x", "content");
  const Values keys = {{"gcs_endpoint", world.server().url()},
                       {"gcs_credentials", "hmac:" + StoreKey().id + ":" + StoreKey().secret},
                       {"requester_pays", "the-payer"}};
  const Reached reached(settings_of(keys), "gs://bucket/x");
  const auto opened = reached.store->open(reached.uri, 7);
  if (!opened) FAIL(opened.error().line());
  CHECK(opened->object.size == 7);
  CHECK(world.bad_signatures() == 0);
  const auto listed = reached.store->list(*parse_uri("gs://bucket/"), ListDepth::all);
  REQUIRE(listed);
  CHECK(listed->size() == 1);
}

TEST_CASE("Google: the checksum of a whole object is in one header or in two", "[google]") {
  for (const char* const headers : {"x-goog-hash: crc32c=AAAAAQ==,md5=abc=\r\n",
                                    "x-goog-hash: md5=abc=\r\nx-goog-hash: crc32c=AAAAAQ==\r\n"}) {
    WireServer server([&](const WireRequest& request, Wire& wire) {
      CHECK(request.method == "HEAD");
      wire.send(fmt::format("HTTP/1.1 200 OK\r\n{}Content-Length: 5\r\n\r\n", headers));
    });
    const Reached reached(
        settings_of({{"gcs_endpoint", server.url()}, {"gcs_credentials", "anonymous"}}),
        "gs://b/x");
    Object object;
    object.uri = reached.uri;
    object.size = 5;
    const auto checksum = reached.store->stored_checksum(object);
    REQUIRE(checksum);
    REQUIRE(checksum->expected);
    CHECK(checksum->expected->kind == ChecksumKind::crc32c);
    CHECK(checksum->expected->bytes == std::string("\0\0\0\1", 4));
  }
}

TEST_CASE("plain URLs: a CDN is followed without the token", "[https]") {
  std::atomic<int> leaked{0};
  std::atomic<int> at_cdn{0};
  WireServer cdn([&](const WireRequest& request, Wire& wire) {
    if (!request.header("authorization").empty()) ++leaked;
    ++at_cdn;
    // A URL of the CDN holds for some requests only.
    if (request.query == "turn=0" && at_cdn > 1) return wire.send(answer(403, "expired"));
    wire.send(answer(206, "x", "ETag: \"e\"\r\nContent-Range: bytes 0-0/1\r\n"));
  });
  std::atomic<int> at_hub{0};
  WireServer hub([&](const WireRequest& request, Wire& wire) {
    if (request.header("authorization") != "Bearer hub") return wire.send(answer(401, ""));
    wire.send(answer(302, "", fmt::format("Location: {}/blob?turn={}\r\n", cdn.url(), at_hub++)));
  });
  const Reached reached(settings_of({{"https_bearer_token", "hub"}}), hub.url() + "/m/x");
  for (int i = 0; i < 3; ++i) {
    const auto opened = reached.store->open(reached.uri, 1);
    if (!opened) FAIL(opened.error().line());
  }
  CHECK(leaked == 0);
  // Once at first, and once when the first URL had expired.
  CHECK(at_hub == 2);
  // One URL is one object.
  const auto listed = reached.store->list(reached.uri, ListDepth::all);
  REQUIRE(listed);
  CHECK(listed->size() == 1);
}

TEST_CASE(
    "N2 plain URLs: a URL that expires is renewed as often as it does, by any number of readers",
    "[https]") {
  const std::string content(160'000, 'w');
  std::mutex mutex;
  std::map<std::string, int> uses;
  WireServer cdn([&](const WireRequest& request, Wire& wire) {
    {
      const std::lock_guard lock(mutex);
      if (++uses[request.query] > 6) return wire.send(answer(403, "Request has expired"));
    }
    const std::string range = request.header("range");
    const std::size_t dash = range.find('-');
    const std::uint64_t first = *parse_unsigned(range.substr(6, dash - 6));
    const std::uint64_t last =
        std::min<std::uint64_t>(*parse_unsigned(range.substr(dash + 1)), content.size() - 1);
    wire.send(answer(206, content.substr(first, last - first + 1),
                     fmt::format("ETag: \"e\"\r\nContent-Range: bytes {}-{}/{}\r\n", first, last,
                                 content.size())));
  });
  std::atomic<int> at_hub{0};
  WireServer hub([&](const WireRequest&, Wire& wire) {
    wire.send(answer(302, "", fmt::format("Location: {}/blob?turn={}\r\n", cdn.url(), at_hub++)));
  });
  const Reached reached(settings_of({}), hub.url() + "/m/x");
  const auto opened = reached.store->open(reached.uri, 1);
  if (!opened) FAIL(opened.error().line());
  std::vector<std::string> errors(8);
  std::vector<std::thread> readers;
  for (std::size_t reader = 0; reader < errors.size(); ++reader) {
    readers.emplace_back([&, reader] {
      std::vector<std::byte> bytes(1000);
      for (std::uint64_t i = 0; i < 20; ++i) {
        const auto outcome =
            reached.store->read(opened->object, {(reader * 20 + i) * 1000, bytes.size()}, bytes);
        if (!outcome) errors[reader] = outcome.error().line();
      }
    });
  }
  for (std::thread& reader : readers)
    reader.join();
  CHECK(errors == std::vector<std::string>(8));
  CHECK(at_hub >= 161 / 6);
}

TEST_CASE("N2 plain URLs: one that is refused right after it was renewed is an error", "[https]") {
  WireServer cdn([&](const WireRequest&, Wire& wire) { wire.send(answer(403, "expired")); });
  std::atomic<int> at_hub{0};
  WireServer hub([&](const WireRequest&, Wire& wire) {
    wire.send(answer(302, "", fmt::format("Location: {}/blob?turn={}\r\n", cdn.url(), at_hub++)));
  });
  const Reached reached(settings_of({}), hub.url() + "/m/x");
  const auto opened = reached.store->open(reached.uri, 1);
  REQUIRE_FALSE(opened);
  CHECK(opened.error().kind() == ErrorKind::permission_denied);
  CHECK_THAT(opened.error().line(), Catch::Contains("gave just now"));
  CHECK(at_hub <= 5);
}

TEST_CASE("plain URLs: redirects that are not followed", "[https]") {
  std::string location;
  std::atomic<int> asked{0};
  WireServer hub([&](const WireRequest&, Wire& wire) {
    ++asked;
    wire.send(answer(302, "", location.empty() ? "" : "Location: " + location + "\r\n"));
  });
  for (const std::string& to : {std::string(), std::string("ftp://x/y"), std::string("/m/again"),
                                std::string("http://u:canary@h/x")}) {
    location = to;
    asked = 0;
    INFO(to);
    const Reached reached(settings_of({{"debug.max_attempts", "10"}}), hub.url() + "/m/x");
    const auto opened = reached.store->open(reached.uri, 1);
    REQUIRE_FALSE(opened);
    CHECK(opened.error().kind() == ErrorKind::io);
    CHECK(opened.error().line().find("canary") == std::string::npos);
    CHECK(asked <= 6);
  }
}

TEST_CASE("the smallest backend opens, reads, lists and fails like the others", "[mirror]") {
  std::atomic<int> turn{0};
  WireServer server([&](const WireRequest& request, Wire& wire) {
    // It is slow to start.
    if (turn++ == 0) return wire.send(answer(503, ""));
    if (request.path == "/m/a%20b/index.txt")
      return wire.send(answer(200, "7 x.safetensors\n0 y\n"));
    if (request.path != "/m/a%20b/x.safetensors") return wire.send(answer(404, ""));
    const std::size_t dash = request.header("range").find('-');
    const std::uint64_t first = *parse_unsigned(request.header("range").substr(6, dash - 6));
    const std::uint64_t last =
        std::min<std::uint64_t>(*parse_unsigned(request.header("range").substr(dash + 1)), 6);
    wire.send(answer(206, std::string("content").substr(first, last - first + 1),
                     fmt::format("ETag: \"e\"\r\nContent-Range: bytes {}-{}/7\r\n", first, last)));
  });
  MirrorStore store(server.url(), {}, std::make_shared<HttpClient>());
  const Uri folder("mirror", "m/a b/");
  const auto listed = store.list(folder, ListDepth::all);
  if (!listed) FAIL(listed.error().line());
  REQUIRE(listed->size() == 2);
  CHECK((*listed)[0].uri.text() == "mirror://m/a b/x.safetensors");
  const auto opened = store.open((*listed)[0].uri, 3);
  REQUIRE(opened);
  CHECK(opened->object.size == 7);
  std::string rest(4, ' ');
  REQUIRE(store.read(opened->object, {3, 4}, std::as_writable_bytes(std::span(rest))));
  CHECK(rest == "tent");
  CHECK(store.open(child(folder, "z.json"), 1).error().kind() == ErrorKind::not_found);
}

TEST_CASE("a checkpoint of shards is opened by the URL of its index", "[https]") {
  StoreWorld world("127.0.0.1", Dialect::https);
  const std::string header = R"({"NAME":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})";
  std::string map;
  for (const char* const name : {"a", "b"}) {
    std::string own = header;
    own.replace(own.find("NAME"), 4, name);
    world.put(fmt::format("m/shard {}.safetensors", name), safetensors_file(own) + "data");
    map += fmt::format(R"({}"{}":"shard {}.safetensors")", map.empty() ? "" : ",", name, name);
  }
  world.put("m/model.safetensors.index.json", R"({"weight_map":{)" + map + "}}");
  const auto stores = std::make_shared<Stores>(settings_of({{"https_bearer_token", "testtoken"}}));
  const std::vector<std::string> uris = {world.server().url() +
                                         "/bucket/m/model.safetensors.index.json"};
  const auto checkpoint = open_checkpoint(uris, stores);
  if (!checkpoint) FAIL(checkpoint.error().line());
  CHECK((*checkpoint)->tensors.size() == 2);
  CHECK((*checkpoint)->objects[1].object.uri.text() ==
        world.server().url() + "/bucket/m/shard%20b.safetensors");
}

TEST_CASE("connect_timeout_ms ends a connection that nobody accepts", "[https]") {
  // A queue of one that is full: the kernel drops who comes next.
  const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(::listen(listener.get(), 0) == 0);
  REQUIRE(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
  std::vector<UniqueFd> waiting;
  for (int i = 0; i < 4; ++i) {
    waiting.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    static_cast<void>(::connect(waiting.back().get(), reinterpret_cast<sockaddr*>(&address), size));
  }
  const std::string uri = fmt::format("http://127.0.0.1:{}/x", ntohs(address.sin_port));
  const auto time_of = [&](const char* timeout_ms) {
    const Reached reached(
        settings_of({{"debug.connect_timeout_ms", timeout_ms}, {"debug.max_attempts", "1"}}), uri);
    const auto began = std::chrono::steady_clock::now();
    const auto opened = reached.store->open(reached.uri, 1);
    REQUIRE_FALSE(opened);
    CHECK(opened.error().kind() == ErrorKind::io);
    return std::chrono::steady_clock::now() - began;
  };
  const auto longer = time_of("3000");
  CHECK(longer >= std::chrono::milliseconds(3000));
  CHECK(time_of("100") < longer);
}
