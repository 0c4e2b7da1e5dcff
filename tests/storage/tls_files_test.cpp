// SPDX-License-Identifier: Apache-2.0
// Where the certificates are: whose variable counts, and what is refused before anything is sent.
#include <cstdlib>
#include <filesystem>

#include "http/system_authorities.hpp"
#include "storage/remote_config.hpp"
#include "storage/remote_settings.hpp"
#include "support/catch.hpp"
#include "support/raw_checkpoint.hpp"
#include "support/safetensors_text.hpp"

using namespace streamer::core;
using namespace streamer::test;

namespace {

// Certificates made by the tool that everybody uses, and an environment to name them in.
class TlsWorld {
 public:
  TlsWorld() {
    make("one");
    make("two");
    std::filesystem::create_directory(path("hashed"));
    std::filesystem::create_directory(path("plain"));
    for (const char* const folder : {"hashed", "plain"})
      std::filesystem::copy(path("one.crt"), path(folder) + "/one.pem");
    run("openssl rehash " + path("hashed"));
  }
  static void run(const std::string& command) {
    INFO(command);
    REQUIRE(std::system(("(" + command + ") >/dev/null 2>&1").c_str()) == 0);
  }
  void make(const std::string& name) const {
    run("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=x -keyout " +
        path(name + ".key") + " -out " + path(name + ".crt"));
  }
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }

  Result<TlsFiles> read(std::optional<Sourced> from_profile = {}) const {
    const Environment environment = [&](const char* name) -> std::optional<std::string> {
      const auto found = variables.find(name);
      if (found == variables.end()) return std::nullopt;
      return found->second;
    };
    const RemoteConfig from = TRY(RemoteConfig::read(settings, environment));
    return from.tls_files(std::move(from_profile));
  }
  std::string refusal() const {
    const auto found = read();
    REQUIRE_FALSE(found);
    return found.error().line();
  }

  std::map<std::string, std::string> variables;
  Settings settings;

 private:
  TemporaryFolder folder_;
};

}  // namespace

TEST_CASE("authorities: each variable in its turn, files and folders", "[tls]") {
  TlsWorld world;
  CHECK(world.read()->ca_file == system_authorities().ca_file);
  CHECK(world.read()->ca_folder == system_authorities().ca_folder);
  // From the last to the first: whoever is added wins.
  world.variables["SSL_CERT_DIR"] = "/nowhere:" + world.path("hashed");
  CHECK(world.read()->ca_folder == "/nowhere:" + world.path("hashed"));
  // Its own half of the system's.
  CHECK(world.read()->ca_file == system_authorities().ca_file);
  world.variables["SSL_CERT_FILE"] = world.path("one.crt");
  CHECK(world.read()->ca_file == world.path("one.crt"));
  CHECK(world.read()->ca_folder == "/nowhere:" + world.path("hashed"));
  world.variables["CURL_CA_BUNDLE"] = world.path("two.crt");
  CHECK(world.read()->ca_file == world.path("two.crt"));
  CHECK(world.read()->ca_folder.empty());
  world.variables["REQUESTS_CA_BUNDLE"] = world.path("hashed");
  CHECK(world.read()->ca_folder == world.path("hashed"));
  CHECK(world.read()->ca_file.empty());
  const Sourced profile{world.path("one.crt"), "the profile"};
  CHECK(world.read(profile)->ca_file == world.path("one.crt"));
  world.variables["AWS_CA_BUNDLE"] = world.path("two.crt");
  CHECK(world.read(profile)->ca_file == world.path("two.crt"));
  REQUIRE(world.settings.set(setting::kCaBundle, world.path("hashed")));
  CHECK(world.read(profile)->ca_folder == world.path("hashed"));
}

TEST_CASE("authorities that cannot be used are named with whoever named them", "[tls]") {
  TlsWorld world;
  for (const char* const variable : {"SSL_CERT_FILE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"}) {
    world.variables[variable] = "/nowhere.pem";
    CHECK_THAT(world.refusal(), Catch::Contains(variable) && Catch::Contains("/nowhere.pem"));
  }
  world.variables = {{"REQUESTS_CA_BUNDLE", world.path("plain")}};
  CHECK_THAT(world.refusal(),
             Catch::Contains("REQUESTS_CA_BUNDLE") && Catch::Contains("openssl rehash"));
  // OpenSSL passes over what is not hashed, and so do programs that set this for others.
  world.variables = {{"SSL_CERT_DIR", "/nowhere:" + world.path("plain")}};
  CHECK(world.read());
  TlsWorld::run("openssl x509 -in " + world.path("one.crt") + " -outform der -out " +
                world.path("one.der"));
  world.variables = {{"AWS_CA_BUNDLE", world.path("one.der")}};
  CHECK_THAT(world.refusal(), Catch::Contains("AWS_CA_BUNDLE names, " + world.path("one.der")) &&
                                  Catch::Contains("no certificate in PEM; it may be DER: openssl"));
  world.variables = {{"SSL_CERT_FILE", world.path("one.key")}};
  CHECK_THAT(world.refusal(), Catch::Contains("SSL_CERT_FILE names") &&
                                  Catch::Contains("no certificate in PEM; name a PEM file"));
}

TEST_CASE("every distribution's authorities are found where it keeps them", "[tls]") {
  TlsWorld world;
  for (const char* const place :
       {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/ca-bundle.pem",
        "/var/lib/ca-certificates/ca-bundle.pem", "/etc/ssl/cert.pem"}) {
    INFO(place);
    const TemporaryFolder root;
    const std::filesystem::path file = root.path().string() + place;
    std::filesystem::create_directories(file.parent_path());
    std::filesystem::copy(world.path("one.crt"), file);
    const TlsFiles found = system_authorities(world.path("two.crt"), root.path().string());
    CHECK(found.ca_file == file.string());
    CHECK(found.tried.empty());
  }
  for (const char* const place : {"/etc/ssl/certs", "/etc/pki/tls/certs"}) {
    INFO(place);
    const TemporaryFolder root;
    const std::filesystem::path folder = root.path().string() + place;
    std::filesystem::create_directories(folder);
    // A folder without hashed names is of no use to OpenSSL.
    CHECK(system_authorities({}, root.path().string()).ca_folder.empty());
    std::filesystem::copy(world.path("hashed"), folder, std::filesystem::copy_options::recursive);
    CHECK(system_authorities({}, root.path().string()).ca_folder == folder.string());
  }
}

TEST_CASE("a machine without authorities uses the last file, or names each place once", "[tls]") {
  TlsWorld world;
  const TemporaryFolder empty;
  const std::string root = empty.path().string();
  CHECK(system_authorities(world.path("two.crt"), root).ca_file == world.path("two.crt"));
  const TlsFiles none = system_authorities("/nowhere/certifi.pem", root);
  CHECK(none.ca_file.empty());
  CHECK(none.ca_folder.empty());
  const std::string line = no_authorities(none).line();
  for (const char* const place :
       {"/etc/ssl/certs/ca-certificates.crt, ", "/etc/pki/tls/certs/ca-bundle.crt, ",
        "/etc/ssl/ca-bundle.pem, ", "/etc/ssl/cert.pem, "}) {
    const auto at = line.find(root + place);
    REQUIRE(at != std::string::npos);
    CHECK(line.find(root + place, at + 1) == std::string::npos);
  }
  CHECK_THAT(line, Catch::Contains("/nowhere/certifi.pem)") && Catch::Contains("ca_bundle") &&
                       Catch::Contains("SSL_CERT_FILE") && Catch::Contains("ca-certificates"));
}

TEST_CASE("client certificates: a file of both or two, that belong together", "[tls]") {
  TlsWorld world;
  const auto set = [&](const std::string& certificate, const std::string& key) {
    world.settings = Settings();
    if (!certificate.empty()) REQUIRE(world.settings.set(setting::kClientCertificate, certificate));
    if (!key.empty()) REQUIRE(world.settings.set(setting::kClientKey, key));
  };
  set(world.path("one.crt"), world.path("one.key"));
  const auto two = world.read();
  if (!two) FAIL(two.error().line());
  CHECK(two->client_certificate == world.path("one.crt"));
  CHECK(two->client_key == world.path("one.key"));
  const std::string both = world.path("both.pem");
  TlsWorld::run("cat " + world.path("one.key") + " " + world.path("one.crt") + " > " + both);
  set(both, "");
  CHECK(world.read()->client_certificate == both);
  CHECK(world.read()->client_key.empty());
  const auto says = [&](const std::string& certificate, const std::string& key,
                        const std::string& words) {
    set(certificate, key);
    CHECK_THAT(world.refusal(), Catch::Contains(words) && Catch::Contains("client_"));
  };
  says("", world.path("one.key"), "client_certificate is not");
  says("/nowhere.crt", "", "/nowhere.crt");
  says(world.path("one.crt"), "/nowhere.key", "/nowhere.key");
  says(world.path("one.crt"), "", "no private key");
  says(world.path("one.crt"), world.path("two.key"), "does not belong");
  says(world.path("one.key"), "", "no certificate");
  const std::string locked = world.path("locked.key");
  TlsWorld::run("openssl pkcs8 -topk8 -in " + world.path("one.key") +
                " -passout pass:canary -out " + locked);
  says(world.path("one.crt"), locked, "encrypted");
}
