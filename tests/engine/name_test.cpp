// SPDX-License-Identifier: Apache-2.0
// Names of hosts that have no address for a while, or never. This program's own getaddrinfo()
// stands before the system's, for libcurl too.
#include <dlfcn.h>
#include <netdb.h>

#include "support/network_faults.hpp"

using namespace streamer::core;
using namespace streamer::test;

namespace {

constexpr const char* kName = "flaky.test";
std::atomic<std::int32_t> failures_left{0};
std::atomic<std::uint32_t> lookups{0};

}  // namespace

extern "C" __attribute__((visibility("default"))) int getaddrinfo(const char* node,
                                                                  const char* service,
                                                                  const addrinfo* hints,
                                                                  addrinfo** found) {
  static const auto real =
      reinterpret_cast<decltype(&getaddrinfo)>(::dlsym(RTLD_NEXT, "getaddrinfo"));
  if (node == nullptr || std::string_view(node) != kName) return real(node, service, hints, found);
  ++lookups;
  if (failures_left.fetch_sub(1) > 0) return EAI_AGAIN;
  return real("127.0.0.1", service, hints, found);
}

namespace {

Settings settings_by_name(StoreLab& lab) {
  Settings settings = lab.settings("4");
  const std::string url = fmt::format("http://{}:{}", kName, lab.world.server().port());
  const std::map<Dialect, const char*> names = {{Dialect::s3, "s3_endpoint"},
                                                {Dialect::azure, "azure_endpoint"}};
  REQUIRE(
      streamer::capi::set_by_name(settings, names.at(lab.world.dialect()), url + lab.world.root()));
  return settings;
}

}  // namespace

TEST_CASE("N1 a name that has no address once, twice or three times is looked up again", "[name]") {
  for (const std::int32_t failures : {0, 1, 2, 3}) {
    INFO(failures);
    StoreLab lab;
    const Settings settings = settings_by_name(lab);
    lookups = 0;
    failures_left = failures;
    const NetworkOutcome outcome = lab.load(settings);
    if (outcome.error) FAIL(outcome.error->line());
    CHECK(lookups > static_cast<std::uint32_t>(failures));
    CHECK(lab.world.bad_signatures() == 0);
  }
}

TEST_CASE("N1 a name that never has one is an error that says so", "[name]") {
  StoreLab lab;
  Settings settings = settings_by_name(lab);
  failures_left = INT32_MAX;
  const NetworkOutcome outcome = lab.load(settings);
  REQUIRE(outcome.error);
  CHECK(outcome.error->kind() == ErrorKind::io);
  CHECK_THAT(outcome.error->line(), Catch::Contains("the name flaky.test has no address"));
  CHECK(outcome.error->fields().attempts >= 3);
}

TEST_CASE("N1 names that fail in the middle of a load are looked up again", "[name]") {
  StoreLab lab;
  const Settings settings = settings_by_name(lab);
  failures_left = 0;
  const auto checkpoint = lab.open(settings);
  REQUIRE(checkpoint);
  failures_left = 6;
  const NetworkOutcome outcome = lab.load(*checkpoint, settings);
  if (outcome.error) FAIL(outcome.error->line());
}
