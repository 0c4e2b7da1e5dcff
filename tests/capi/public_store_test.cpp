// SPDX-License-Identifier: Apache-2.0
// Stores through the public API alone: credentials per prefix and by callback, listing, pull,
// doctor.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "streamer/streamer.hpp"
#include "support/raw_checkpoint.hpp"
#include "support/safetensors_text.hpp"
#include "support/store_world.hpp"

using namespace streamer::test;

namespace {

std::string small_checkpoint() {
  return safetensors_file(R"({"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4);
}

streamer::Settings settings_for(StoreWorld& world, const StoreKey& key = {}) {
  streamer::Settings settings;
  for (const auto& [name, value] : std::vector<std::pair<std::string, std::string>>{
           {"s3_endpoint", world.server().url()}, {"s3_credentials", key.as_setting()}}) {
    REQUIRE(settings.set(name, value));
  }
  return settings;
}

struct Callback {
  StoreKey key;
  std::atomic<int> calls{0};
  std::int32_t outcome = 0;
};

extern "C" std::int32_t give(streamer_credentials* credentials, void* user) {
  auto& callback = *static_cast<Callback*>(user);
  ++callback.calls;
  credentials->access_key_id = callback.key.id.c_str();
  credentials->secret_access_key = callback.key.secret.c_str();
  return callback.outcome;
}

}  // namespace

TEST_CASE("credentials hold for the longest prefix that a URI begins with", "[store]") {
  StoreWorld world;
  world.put("team/m.safetensors", small_checkpoint());
  world.put("other/m.safetensors", small_checkpoint());
  const StoreKey team{.id = "TEAM", .secret = "team-secret", .token = ""};
  world.set_keys({team, StoreKey()});
  streamer::Settings settings = settings_for(world, {.id = "NOBODY", .secret = "x", .token = ""});
  REQUIRE(settings.set_for("s3://bucket/", "s3_credentials", StoreKey().as_setting()));
  REQUIRE(settings.set_for("s3://bucket/team/", "s3_credentials", team.as_setting()));
  for (const char* const uri :
       {"s3://bucket/team/m.safetensors", "s3://bucket/other/m.safetensors"}) {
    const auto checkpoint = streamer::Checkpoint::open({uri}, settings);
    if (!checkpoint) FAIL(checkpoint.error().line());
    CHECK(checkpoint->tensors().size() == 1);
  }
  CHECK(world.bad_signatures() == 0);
  const auto nowhere = streamer::Checkpoint::open({"s3://elsewhere/m.safetensors"}, settings);
  REQUIRE_FALSE(nowhere);
  CHECK(nowhere.error().service_code() == "InvalidAccessKeyId");
  CHECK_FALSE(settings.set_for("s3://bucket/", "no_such_setting", "x"));
}

TEST_CASE("keys for a prefix are sent without the token of the settings that they extend",
          "[store]") {
  StoreWorld world;
  world.put("m.safetensors", small_checkpoint());
  world.set_keys({StoreKey()});
  streamer::Settings settings = settings_for(world);
  REQUIRE(settings.set("s3_credentials", "session:OTHER:other-secret:other-token"));
  REQUIRE(settings.set_for("s3://bucket/", "s3_credentials", StoreKey().as_setting()));
  std::atomic<int> with_token{0};
  world.set_fault([&](const WireRequest& request, Wire&, std::uint32_t) {
    if (!request.header("x-amz-security-token").empty()) ++with_token;
    return false;
  });
  const auto checkpoint = streamer::Checkpoint::open({"s3://bucket/m.safetensors"}, settings);
  if (!checkpoint) FAIL(checkpoint.error().line());
  CHECK(with_token == 0);
  CHECK(world.bad_signatures() == 0);
}

TEST_CASE("a callback is asked for credentials, and its refusal is an error", "[store]") {
  StoreWorld world;
  world.put("m.safetensors", small_checkpoint());
  streamer::Settings settings = settings_for(world, {.id = "NOBODY", .secret = "x", .token = ""});
  Callback callback;
  REQUIRE(settings.set_credentials_callback("s3://bucket/", give, &callback));
  const auto checkpoint = streamer::Checkpoint::open({"s3://bucket/m.safetensors"}, settings);
  if (!checkpoint) FAIL(checkpoint.error().line());
  CHECK(callback.calls == 1);
  callback.outcome = 42;
  const auto refused = streamer::Checkpoint::open({"s3://bucket/m.safetensors"}, settings);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().kind() == streamer::ErrorKind::permission_denied);
  CHECK_THAT(std::string(refused.error().message()), Catch::Contains("42"));
}

TEST_CASE("listing, pull and doctor, through the public API", "[store]") {
  StoreWorld world;
  world.put("m/a.json", "{}");
  world.put("m/sub/b.json", "{\"b\":1}");
  world.put("m/w.safetensors", small_checkpoint());
  const streamer::Settings settings = settings_for(world);
  const auto all = streamer::list_all("s3://bucket/m/", settings);
  if (!all) FAIL(all.error().line());
  CHECK(all->size() == 3);
  const TemporaryFolder folder;
  const std::string target = (folder.path() / "copy").string();
  const auto pulled =
      streamer::pull("s3://bucket/m/", target, {.allow = {"*.json"}, .ignore = {}}, settings);
  if (!pulled) FAIL(pulled.error().line());
  REQUIRE(pulled->size() == 2);
  CHECK((*pulled)[1].path == target + "/sub/b.json");
  std::ostringstream text;
  text << std::ifstream(target + "/sub/b.json").rdbuf();
  CHECK(text.str() == "{\"b\":1}");
  // Nothing but the files is left.
  CHECK(std::distance(std::filesystem::directory_iterator(target), {}) == 2);
  std::vector<std::string> steps;
  const auto diagnosed = streamer::diagnose(
      "s3://bucket/m/",
      [](const streamer_step_info* step, void* user) {
        static_cast<std::vector<std::string>*>(user)->emplace_back(step->name);
        CHECK(step->status == STREAMER_OK);
      },
      &steps, settings);
  if (!diagnosed) FAIL(diagnosed.error().line());
  CHECK(steps == std::vector<std::string>{"settings", "endpoint", "addressing", "region", "proxy",
                                          "CA", "addresses", "connection", "server", "credentials",
                                          "list", "stat", "read", "model"});
}

TEST_CASE("names that lead outside are not pulled, and keep no others", "[store]") {
  for (const char* const name :
       {"../x", "a/../../x", "a/..", "..", "a//b", "a\\..\\x", "./x", "x/", "x//"}) {
    INFO(name);
    StoreWorld world;
    world.put(std::string("m/") + name, "evil");
    world.put("m/good", "good");
    const TemporaryFolder folder;
    const auto pulled =
        streamer::pull("s3://bucket/m/", (folder.path() / "in").string(), {}, settings_for(world));
    REQUIRE_FALSE(pulled);
    INFO(pulled.error().line());
    CHECK(pulled.error().kind() == streamer::ErrorKind::invalid_argument);
    CHECK_THAT(std::string(pulled.error().message()),
               Catch::Contains("the other 1 of 2 objects were pulled"));
    CHECK(std::filesystem::exists(folder.path() / "in" / "good"));
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path() / "in"), {}) == 1);
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
  }
  // Dots that lead nowhere are names as any other.
  StoreWorld world;
  world.put("m/file..txt", "good");
  world.put("m/..file", "good");
  const TemporaryFolder folder;
  CHECK(streamer::pull("s3://bucket/m/", folder.path().string(), {}, settings_for(world))->size() ==
        2);
}

TEST_CASE("a pull replaces files in one step, and follows no link out", "[store]") {
  StoreWorld world;
  world.put("m/f", "new");
  const TemporaryFolder folder;
  const auto outside = write_text(folder.path() / "outside", "old");
  std::filesystem::create_directory(folder.path() / "in");
  std::filesystem::create_symlink("../outside", folder.path() / "in" / "f");
  write_text(folder.path() / "in" / ".streamer-1-2.partial", "left behind");
  REQUIRE(
      streamer::pull("s3://bucket/m/", (folder.path() / "in").string(), {}, settings_for(world)));
  CHECK_FALSE(std::filesystem::is_symlink(folder.path() / "in" / "f"));
  std::ostringstream text;
  text << std::ifstream(outside).rdbuf();
  CHECK(text.str() == "old");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path() / "in"), {}) == 1);
}
