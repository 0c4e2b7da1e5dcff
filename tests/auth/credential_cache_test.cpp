// SPDX-License-Identifier: Apache-2.0
// Credentials in use, with a clock of their own.
#include <thread>

#include "auth/aws/credentials.hpp"
#include "auth/credential_cache.hpp"
#include "support/catch.hpp"

using namespace streamer::core;
using namespace std::chrono_literals;

TEST_CASE("the cache fetches once, renews early, and forgives while keys are good", "[aws]") {
  std::atomic<int> fetches{0};
  std::atomic<bool> works{true};
  std::atomic<std::int64_t> clock{1'000'000};
  const auto now = [&] { return SystemTime(std::chrono::seconds(clock.load())); };
  CredentialCache<AwsCredentials> cache(
      [&]() -> Result<AwsCredentials> {
        const int number = ++fetches;
        if (!works) return Error(ErrorKind::io, "down");
        return AwsCredentials{.access_key_id = "ID" + std::to_string(number),
                              .secret_access_key = Secret("s"),
                              .session_token = {},
                              .expires = now() + 3600s,
                              .source = "test"};
      },
      now);
  CHECK(cache.get()->credentials.access_key_id == "ID1");
  CHECK(cache.get()->version == 1);
  CHECK(fetches == 1);
  // Within ten minutes of the end: renewed beside, without waiting.
  clock += 3600 - 300;
  CHECK(cache.get());
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (cache.get()->credentials.access_key_id != "ID2" &&
         std::chrono::steady_clock::now() < deadline)
    std::this_thread::yield();
  CHECK(fetches == 2);
  // At the end, and the source is down: what is there is still used.
  works = false;
  clock += 3600;
  CHECK(cache.get()->credentials.access_key_id == "ID2");
  // The store refused version 2: one fetch for all who ask.
  works = true;
  const std::uint64_t version = cache.get()->version;
  const int before = fetches;
  CHECK(*cache.renew(version));
  CHECK(*cache.renew(version));
  CHECK(fetches == before + 1);
}

TEST_CASE("the cache does not pester a source that gives what is about to expire", "[aws]") {
  std::atomic<int> fetches{0};
  std::atomic<std::int64_t> clock{1'000'000};
  const std::int64_t end = clock + 300;
  const auto now = [&] { return SystemTime(std::chrono::seconds(clock.load())); };
  // As metadata services do: the same keys until they have nearly expired.
  CredentialCache<AwsCredentials> cache(
      [&]() -> Result<AwsCredentials> {
        ++fetches;
        const bool is_late = clock > end - 30;
        return AwsCredentials{
            .access_key_id = is_late ? "NEW" : "OLD",
            .secret_access_key = Secret("s"),
            .session_token = {},
            .expires = SystemTime(std::chrono::seconds(is_late ? end + 3600 : end)),
            .source = "test"};
      },
      now);
  for (; clock < end + 10; ++clock) {
    for (int i = 0; i < 10; ++i) {
      const auto current = cache.get();
      REQUIRE(current);
      // Never one that has expired.
      CHECK((clock < end || current->credentials.access_key_id == "NEW"));
    }
  }
  CHECK(cache.get()->version == 2);
  // Twice a minute at most, and a few times more often towards the end.
  CHECK(fetches <= 20);
}

TEST_CASE("a source that is down is asked now and then, not for every request", "[aws]") {
  std::atomic<int> fetches{0};
  std::atomic<std::int64_t> clock{1'000'000};
  const auto now = [&] { return SystemTime(std::chrono::seconds(clock.load())); };
  CredentialCache<AwsCredentials> cache(
      [&]() -> Result<AwsCredentials> {
        if (++fetches > 1) return Error(ErrorKind::io, "down");
        return AwsCredentials{.access_key_id = "ID",
                              .secret_access_key = Secret("s"),
                              .session_token = {},
                              .expires = now() + 3600s,
                              .source = "test"};
      },
      now);
  REQUIRE(cache.get());
  clock += 4000;
  for (int i = 0; i < 1000; ++i)
    CHECK(cache.get()->credentials.access_key_id == "ID");
  CHECK(fetches == 2);
}
