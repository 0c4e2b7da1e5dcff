// SPDX-License-Identifier: Apache-2.0
#include "base/settings.hpp"

#include <fmt/format.h>

#include <cstdlib>

#include "base/bytes.hpp"
#include "capi/abi/all_settings.hpp"
#include "capi/abi/misspelt_variables.hpp"
#include "distributed/distributed_settings.hpp"
#include "engine/load_settings.hpp"
#include "storage/remote_settings.hpp"
#include "storage/s3/s3_settings.hpp"
#include "support/catch.hpp"

using namespace streamer::core;
using streamer::capi::all_settings;
using streamer::capi::set_by_name;

namespace {

// A variable of the environment for the length of a test.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
  ~Variable() { ::unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
};

LoadSettings read(const Settings& settings = {}) {
  auto settings_read = read_load_settings(settings);
  REQUIRE(settings_read);
  return *settings_read;
}

}  // namespace

TEST_CASE("without anything set the defaults are in force", "[settings]") {
  const LoadSettings defaults = read();
  CHECK(defaults.get(setting::kMemoryLimit).mode == MemoryLimit::Mode::automatic);
  CHECK(defaults.get(setting::kConcurrency) == 0);
  CHECK_FALSE(defaults.get(setting::kCoalesceGapBytes));
  CHECK(defaults.get(setting::kIoUring));
}

TEST_CASE("code wins over our variable, that over the compatible one, that over the default",
          "[settings]") {
  const Variable compatible("RUNAI_STREAMER_CONCURRENCY", "3");
  CHECK(read().get(setting::kConcurrency) == 3);
  const Variable own("STREAMER_CONCURRENCY", "4");
  CHECK(read().get(setting::kConcurrency) == 4);
  Settings settings;
  REQUIRE(set_by_name(settings, "concurrency", "5"));
  CHECK(read(settings).get(setting::kConcurrency) == 5);
}

TEST_CASE("a memory limit means what it meant to users of the variable", "[settings]") {
  using Mode = MemoryLimit::Mode;
  const std::pair<const char*, Mode> cases[] = {
      {"-1", Mode::unlimited},    {"unlimited", Mode::unlimited}, {"0", Mode::minimum},
      {"minimum", Mode::minimum}, {"auto", Mode::automatic},      {"40000000000", Mode::bytes},
      {"1.5GiB", Mode::bytes}};
  for (const auto& [text, mode] : cases) {
    const Variable variable("RUNAI_STREAMER_MEMORY_LIMIT", text);
    CHECK(read().get(setting::kMemoryLimit).mode == mode);
  }
}

TEST_CASE("an empty variable is one that is not set", "[settings]") {
  const Variable empty("STREAMER_CONCURRENCY", "");
  CHECK(read().get(setting::kConcurrency) == 0);
}

TEST_CASE("a variable with a wrong value is an error that names it and what it may be",
          "[settings]") {
  for (const char* value : {"many", "0", "-1", "1025", "99999999999999999999", "inf", "4 4"}) {
    const Variable wrong("STREAMER_CONCURRENCY", value);
    const auto refused = read_load_settings({});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind() == ErrorKind::invalid_argument);
    CHECK_THAT(refused.error().message(),
               Catch::Contains("STREAMER_CONCURRENCY") && Catch::Contains("1 to 1024"));
  }
}

TEST_CASE("names that do not exist and values that cannot be are refused when set", "[settings]") {
  Settings settings;
  CHECK_FALSE(set_by_name(settings, "nonsense", "1"));
  CHECK_FALSE(set_by_name(settings, "debug.tensor_alignment", "3"));
  CHECK_FALSE(set_by_name(settings, "debug.tensor_alignment", "8192"));
  CHECK_FALSE(set_by_name(settings, "max_bandwidth", "1"));
  CHECK_FALSE(set_by_name(settings, "file_io", "mmap"));
  CHECK(set_by_name(settings, "debug.tensor_alignment", " 64 "));
  CHECK(read(settings).get(setting::kTensorAlignment) == 64);
}

TEST_CASE("counts are whole numbers and sizes are sizes", "[settings]") {
  Settings settings;
  for (const char* const name :
       {"concurrency", "debug.connections", "debug.direct_depth", "debug.target_gbps",
        "debug.device_streams", "debug.max_attempts", "distributed_timeout_s", "stall_timeout_ms",
        "debug.connect_timeout_ms", "progress_timeout_ms"}) {
    for (const char* const value :
         {"2.9", "0.5k", "4k", "2.0", "1e1", "3 ", "", "+3", "0x3", "4b"}) {
      INFO(name << "=" << value);
      CHECK(static_cast<bool>(set_by_name(settings, name, value)) ==
            (std::string_view(value) == "3 "));
    }
  }
  for (const char* const value : {"5000.5", "5000.5b"})
    CHECK_FALSE(set_by_name(settings, "debug.chunk_bytes", value));
  for (const char* const value : {"8192", "8192b", "0.5MiB", "1.5MB", "64k"})
    CHECK(set_by_name(settings, "debug.chunk_bytes", value));
}

TEST_CASE("a mistyped setting names the nearest, and what is no name is not shown", "[settings]") {
  Settings settings;
  const auto text = [&](std::string_view name) {
    return set_by_name(settings, name, "1").error().message();
  };
  CHECK_THAT(text("stall_timeout"), Catch::Contains("did you mean stall_timeout_ms?"));
  CHECK_THAT(text("concurency"), Catch::Contains("did you mean concurrency?"));
  CHECK_THAT(text("Memory-Limit"), Catch::Contains("did you mean memory_limit?"));
  CHECK_THAT(text("hedging"), Catch::Contains("did you mean debug.hedging?"));
  CHECK_THAT(text("staging_byte"), Catch::Contains("did you mean debug.staging_bytes?"));
  CHECK_THAT(text("nonsense"), Catch::Contains("nonsense") && !Catch::Contains("did you mean"));
  CHECK_THAT(text("s3_credentials:HUSH"), !Catch::Contains("HUSH"));
}

TEST_CASE("the table is sorted and has no name twice", "[settings]") {
  const SettingRows rows = all_settings();
  for (std::size_t i = 1; i < rows.size(); ++i) {
    CHECK(std::string_view(rows[i - 1]->name()) < rows[i]->name());
  }
}

TEST_CASE("every row's default is a value that it takes, and its variable fits", "[settings]") {
  for (const SettingRow* const row : all_settings()) {
    INFO(row->name());
    CHECK(row->read(row->default_text()).has_value());
    CHECK_FALSE(row->read("").has_value());
    CHECK(std::string_view(row->name()).size() + std::string_view("STREAMER_").size() <
          SettingRow::kMostVariableBytes);
    CHECK_FALSE(row->values().empty());
  }
}

TEST_CASE("a value is of its setting's type", "[settings]") {
  Settings settings;
  REQUIRE(settings.set(setting::kDistributedBufferBytes, "1"));
  CHECK(settings.get(setting::kDistributedBufferBytes).has_value());
  CHECK(*settings.get(setting::kDistributedBufferBytes) == kMiB);
  REQUIRE(settings.set(setting::kDistributedScope, "1"));
  CHECK(*settings.get(setting::kDistributedScope) == RankScope::all);
  REQUIRE(settings.set(setting::kVerify, "off"));
  CHECK_FALSE(*settings.get(setting::kVerify));
  REQUIRE(settings.set(setting::kCoalesceGapBytes, "0"));
  CHECK(**settings.get(setting::kCoalesceGapBytes) == 0);
  CHECK_FALSE(settings.set(setting::kStagingSegmentBytes, "5000"));
}

TEST_CASE("a load inherits what its checkpoint was opened with, and what it is given itself wins",
          "[settings]") {
  Settings opened;
  REQUIRE(set_by_name(opened, "memory_limit", "minimum"));
  REQUIRE(set_by_name(opened, "max_bandwidth", "1MiB"));
  REQUIRE(set_by_name(opened, "s3_endpoint", "http://127.0.0.1:1"));
  REQUIRE(set_by_name(opened, "stall_timeout_ms", "500", "s3://bucket/"));
  Settings given;
  REQUIRE(set_by_name(given, "max_bandwidth", "2MiB"));
  REQUIRE(set_by_name(given, "distributed_timeout_s", "7"));
  const auto both = opened.for_load(given);
  REQUIRE(both);
  const LoadSettings load = *read_load_settings(*both);
  CHECK(load.get(setting::kMemoryLimit).mode == MemoryLimit::Mode::minimum);
  CHECK(load.get(setting::kMaxBandwidth) == 2 * kMiB);
  CHECK(both->get(setting::kDistributedTimeoutS)->count() == 7000);
}

TEST_CASE("a setting out of its scope is an error of the load that says where it belongs",
          "[settings]") {
  for (const SettingRow* const row : all_settings()) {
    INFO(row->name());
    Settings given;
    REQUIRE(given.set(*row, row->default_text()));
    const auto both = Settings().for_load(given);
    const bool is_of_process = row->scope() == Scope::process;
    if (row->scope() != Scope::store && row->scope() != Scope::checkpoint && !is_of_process) {
      CHECK(both);
      continue;
    }
    REQUIRE_FALSE(both);
    CHECK(both.error().kind() == ErrorKind::invalid_argument);
    CHECK_THAT(both.error().message(),
               Catch::StartsWith(row->name()) && Catch::Contains("is a setting of the") &&
                   Catch::Contains(is_of_process ? "streamer_process_configure" : "opened"));
    CHECK(static_cast<bool>(given.check_all_of(Scope::process)) == is_of_process);
    // Nor is a checkpoint opened with one for its loads.
    if (is_of_process) CHECK_FALSE(given.for_load(Settings()));
  }
  Settings for_prefix;
  REQUIRE(set_by_name(for_prefix, "s3_region", "eu-west-1", "s3://bucket/"));
  CHECK_THAT(Settings().for_load(for_prefix).error().message(), Catch::Contains("prefix"));
  Settings with_callback;
  with_callback.set_credentials_callback([] { return GivenCredentials(); }, "");
  CHECK_THAT(Settings().for_load(with_callback).error().message(), Catch::Contains("credentials"));
}

TEST_CASE("only a setting of stores may be for a prefix", "[settings]") {
  for (const SettingRow* const row : all_settings()) {
    INFO(row->name());
    Settings settings;
    const auto set = settings.set(*row, row->default_text(), "s3://bucket/");
    CHECK(set.has_value() == (row->scope() == Scope::store));
    if (!set) CHECK_THAT(set.error().message(), Catch::StartsWith(row->name()));
  }
}

TEST_CASE("credentials for a prefix win over a callback that holds for more, other settings do not",
          "[settings]") {
  const auto callback_of = [](const char* name, const char* value) {
    Settings settings;
    settings.set_credentials_callback([] { return GivenCredentials(); }, "");
    REQUIRE(set_by_name(settings, name, value, "az://team/"));
    return settings.for_uri("az://team/model").credentials_callback();
  };
  CHECK(callback_of("s3_credentials", "keys:ID:SECRET") == nullptr);
  CHECK(callback_of("azure_credentials", "anonymous") == nullptr);
  CHECK(callback_of("s3_sse_customer_key", "a2V5") != nullptr);
  CHECK(callback_of("stall_timeout_ms", "500") != nullptr);
}

TEST_CASE("credentials are of one kind, whole, and only their secrets are hidden", "[settings]") {
  const auto& row = setting::kS3Credentials;
  CHECK(row.values() == "auto, anonymous, keys:ID:SECRET, session:ID:SECRET:TOKEN or profile:NAME");
  const auto read = [](const char* text) {
    Settings settings;
    REQUIRE(settings.set(setting::kS3Credentials, text));
    return *settings.get(setting::kS3Credentials);
  };
  CHECK_FALSE(read("auto"));
  CHECK(read("anonymous")->kind == S3CredentialKind::anonymous);
  CHECK(read("profile:a:b")->name == "a:b");
  // Keys that people think up may have colons, those of token services have none.
  const auto keys = read("keys:ID:one:two");
  CHECK(keys->name == "ID");
  CHECK(keys->secret.reveal() == "one:two");
  const auto session = read("session:ID:SECRET:to:ken");
  CHECK(session->secret.reveal() == "SECRET");
  CHECK(session->token.reveal() == "to:ken");
  // Both may have any character, written so.
  const std::string id = "test:tester", secret = "50%:%3A";
  const auto escaped = read(
      fmt::format("session:{}:{}:to%3Aken", as_credentials_part(id), as_credentials_part(secret))
          .c_str());
  CHECK(escaped->name == id);
  CHECK(escaped->secret.reveal() == secret);
  CHECK(escaped->token.reveal() == "to%3Aken");
  CHECK(read("keys:ID:100%")->secret.reveal() == "100%");
  for (const char* const bad :
       {"", "keys", "keys:", "keys:hush-hush-1", "keys::hush-hush-1",
        "keys:hush-hush-1:", "session:ID:hush-hush-1", "profile:", "anonymous:hush-hush-1",
        "anonymous:", "hush-hush-1", "token:hush-hush-1"}) {
    INFO(bad);
    Settings settings;
    const auto set = settings.set(row, bad);
    REQUIRE_FALSE(set);
    CHECK_THAT(set.error().message(),
               !Catch::Contains("hush") && Catch::Contains("keys:ID:SECRET"));
  }
  CHECK(row.secret_in("anonymous").empty());
  CHECK(row.secret_in("profile:production").empty());
  CHECK(row.secret_in("keys:ID:SECRET") == "SECRET");
}

TEST_CASE("of a wrong value that may be a secret only its kind is shown, however short",
          "[settings]") {
  struct Row {
    const char* name;
    const char* value;
    const char* shown;
  };
  for (const Row& row :
       {Row{"s3_credentials", "keys:SHRT", "\"keys:***\""},
        Row{"s3_credentials", "SHRT", "\"***\""}, Row{"s3_credentials", "SHRT:x", "\"***\""},
        Row{"azure_credentials", "ky:SHRT", "\"***\""},
        Row{"gcs_credentials", ":SHRT", "\"***\""}}) {
    CAPTURE(row.name, row.value);
    Settings settings;
    const auto set = streamer::capi::set_by_name(settings, row.name, row.value);
    REQUIRE_FALSE(set);
    CHECK_THAT(set.error().message(), Catch::Contains(row.shown) && !Catch::Contains("SHRT"));
  }
}

TEST_CASE("a manifest is a path, and no word that only sounds like a setting's", "[settings]") {
  for (const char* const word : {"on", "yes", "true", "1", "no"}) {
    INFO(word);
    CHECK_FALSE(Settings().set(setting::kVerify, word));
  }
  for (const char* const value : {"off", "store", "required", "SHA256SUMS", "s3://b/sums"})
    CHECK(Settings().set(setting::kVerify, value));
}

TEST_CASE("who pays is yes, no or a project", "[settings]") {
  const auto read = [](const char* text) {
    Settings settings;
    REQUIRE(settings.set(setting::kRequesterPays, text));
    return *settings.get(setting::kRequesterPays);
  };
  CHECK_FALSE(read("no").agrees);
  CHECK(read("yes").agrees);
  CHECK(read("yes").project.empty());
  CHECK(read("my-project").agrees);
  CHECK(read("my-project").project == "my-project");
  CHECK(read("example.com:my-project").project == "example.com:my-project");
  CHECK(read("123456789012").project == "123456789012");
  // As the AWS tools have it, and the setting counts before.
  const auto beside = [&](const char* variable, const char* text) {
    ::setenv("AWS_REQUEST_PAYER", variable, 1);
    const bool agrees =
        text == nullptr ? Settings().get(setting::kRequesterPays)->agrees : read(text).agrees;
    ::unsetenv("AWS_REQUEST_PAYER");
    return agrees;
  };
  CHECK(beside("requester", nullptr));
  CHECK_FALSE(beside("requester", "no"));
  // Nobody agrees to be charged by a word for "none".
  for (const char* const word : {"auto", "off", "none", "None", "n", "maybe", "a project", ""}) {
    INFO(word);
    CHECK_FALSE(Settings().set(setting::kRequesterPays, word));
  }
}

TEST_CASE("a misspelt variable is told with the nearest, and what is not ours is left alone",
          "[settings]") {
  using streamer::capi::misspelt_variables;
  const auto found =
      misspelt_variables({"STREAMER_MEMRY_LIMIT", "STREAMER_S3_ENDPONT", "STREAMER_LOG_LEVL"});
  REQUIRE(found.size() == 3);
  CHECK(found[0] == "STREAMER_MEMRY_LIMIT is not a setting; did you mean STREAMER_MEMORY_LIMIT?");
  CHECK_THAT(found[1], Catch::Contains("did you mean STREAMER_S3_ENDPOINT?"));
  CHECK_THAT(found[2], Catch::Contains("did you mean STREAMER_LOG_LEVEL?"));
  CHECK_THAT(misspelt_variables({"STREAMER_HEDGING"}).at(0),
             Catch::Contains("did you mean STREAMER_DEBUG_HEDGING?"));
  // The whole of a name but for its "debug." is that name, whatever else is near.
  CHECK_THAT(misspelt_variables({"STREAMER_DISTRIBUTED_MPI"}).at(0),
             Catch::Contains("did you mean STREAMER_DEBUG_DISTRIBUTED_MPI?"));
  std::vector<std::string_view> ours = {"STREAMER_LIBRARY", "STREAMER_LOG_FILE",
                                        "STREAMER_LOG_LEVEL", "STREAMER_TEST_DEVICE",
                                        "STREAMER_TEST_MEMRY_LIMIT"};
  for (const SettingRow* const row : all_settings())
    ours.emplace_back(row->variable());
  CHECK(misspelt_variables(ours).empty());
  const std::string endless = "STREAMER_" + std::string(1000, 'A');
  CHECK(misspelt_variables({"STREAMER_", "STREAMER_XYZZY_PLUGH", "MEMORY_LIMIT", "PATH",
                            "RUNAI_STREAMER_MEMRY_LIMIT", endless})
            .empty());
}
