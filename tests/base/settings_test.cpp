// SPDX-License-Identifier: Apache-2.0
#include "base/settings.hpp"

#include <cstdlib>

#include "base/bytes.hpp"
#include "support/catch.hpp"

using namespace streamer::core;

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
  CHECK(defaults.memory_limit.mode == MemoryLimit::Mode::automatic);
  CHECK(defaults.concurrency == 0);
  CHECK_FALSE(defaults.coalesce_gap_bytes);
  CHECK(defaults.io_uring);
}

TEST_CASE("code wins over our variable, that over the compatible one, that over the default",
          "[settings]") {
  const Variable compatible("RUNAI_STREAMER_CONCURRENCY", "3");
  CHECK(read().concurrency == 3);
  const Variable own("STREAMER_CONCURRENCY", "4");
  CHECK(read().concurrency == 4);
  Settings settings;
  REQUIRE(settings.set("concurrency", "5"));
  CHECK(read(settings).concurrency == 5);
}

TEST_CASE("a memory limit means what it meant to users of the variable", "[settings]") {
  using Mode = MemoryLimit::Mode;
  const std::pair<const char*, Mode> cases[] = {
      {"-1", Mode::unlimited},    {"unlimited", Mode::unlimited}, {"0", Mode::minimum},
      {"minimum", Mode::minimum}, {"auto", Mode::automatic},      {"40000000000", Mode::bytes},
      {"1.5GiB", Mode::bytes}};
  for (const auto& [text, mode] : cases) {
    const Variable variable("RUNAI_STREAMER_MEMORY_LIMIT", text);
    CHECK(read().memory_limit.mode == mode);
  }
}

TEST_CASE("an empty variable is one that is not set", "[settings]") {
  const Variable empty("STREAMER_CONCURRENCY", "");
  CHECK(read().concurrency == 0);
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
  CHECK_FALSE(settings.set("nonsense", "1"));
  CHECK_FALSE(settings.set("tensor_alignment", "3"));
  CHECK_FALSE(settings.set("tensor_alignment", "8192"));
  CHECK_FALSE(settings.set("max_bandwidth", "1"));
  CHECK_FALSE(settings.set("file_io", "mmap"));
  CHECK(settings.set("tensor_alignment", " 64 "));
  CHECK(read(settings).tensor_alignment_bytes == 64);
}

TEST_CASE("counts are whole numbers and sizes are sizes", "[settings]") {
  Settings settings;
  for (const char* const name : {"concurrency", "connections", "direct_depth", "target_gbps",
                                 "device_streams", "max_attempts", "distributed_timeout_s",
                                 "stall_timeout_ms", "connect_timeout_ms", "progress_timeout_ms"}) {
    for (const char* const value :
         {"2.9", "0.5k", "4k", "2.0", "1e1", "3 ", "", "+3", "0x3", "4b"}) {
      INFO(name << "=" << value);
      CHECK(static_cast<bool>(settings.set(name, value)) == (std::string_view(value) == "3 "));
    }
  }
  for (const char* const value : {"5000.5", "5000.5b"})
    CHECK_FALSE(settings.set("chunk_bytes", value));
  for (const char* const value : {"8192", "8192b", "0.5MiB", "1.5MB", "64k"})
    CHECK(settings.set("chunk_bytes", value));
}

TEST_CASE("a mistyped setting names the nearest, and what is no name is not shown", "[settings]") {
  Settings settings;
  const auto text = [&](std::string_view name) {
    return settings.set(name, "1").error().message();
  };
  CHECK_THAT(text("stall_timeout"), Catch::Contains("did you mean stall_timeout_ms?"));
  CHECK_THAT(text("concurency"), Catch::Contains("did you mean concurrency?"));
  CHECK_THAT(text("Memory-Limit"), Catch::Contains("did you mean memory_limit?"));
  CHECK_THAT(text("nonsense"), Catch::Contains("nonsense") && !Catch::Contains("did you mean"));
  CHECK_THAT(text("s3_secret_access_key:HUSH"), !Catch::Contains("HUSH"));
}

TEST_CASE("the table is sorted and has no name twice", "[settings]") {
  const auto rows = setting_rows();
  for (std::size_t i = 1; i < rows.size(); ++i) {
    CHECK(std::string_view(rows[i - 1].name) < rows[i].name);
  }
}
