// SPDX-License-Identifier: Apache-2.0
// What the policy must do to a store that many replicas load from at once. Bounds have room for the
// chance in retries: the medians are at about two thirds of them.
#include "scale/simulation.hpp"
#include "storage/remote_store.hpp"
#include "support/catch.hpp"

using namespace streamer::core;
using namespace streamer::test;

namespace {

double refused_share(const SimulatedOutcome& outcome) {
  return static_cast<double>(outcome.refused) / static_cast<double>(outcome.requests);
}

}  // namespace

TEST_CASE("one replica is as fast as its link", "[scale]") {
  const SimulatedOutcome one = simulate({}, {.replicas = 1});
  CHECK(one.failed == 0);
  CHECK(one.refused == 0);
  CHECK(one.last_s < 1.2 * one.ideal_s);
}

TEST_CASE("replicas that ask for more than a store gives all end, soon after it could", "[scale]") {
  const SimulatedLoads loads{.replicas = 300, .model_bytes = 8e9};
  const SimulatedOutcome many = simulate({.requests_per_s = 1000}, loads);
  CHECK(many.failed == 0);
  CHECK(many.last_s < 1.8 * many.ideal_s);
  // They do not answer refusals with more requests.
  CHECK(refused_share(many) < 0.5);

  SimulatedLoads naive = loads;
  naive.naive_retry_s = 0.1;
  CHECK(refused_share(simulate({.requests_per_s = 1000}, naive)) > 0.9);
}

// With as many attempts as a store that fails gets, a fifth of these would give up. One has so much
// bad luck in one of some sixty runs.
TEST_CASE("of many more replicas than a store serves at once hardly any gives up", "[scale]") {
  const SimulatedOutcome queue =
      simulate({.requests_per_s = 550}, {.replicas = 1000, .model_bytes = 4e9});
  CHECK(queue.failed <= 5);
  CHECK(queue.last_s < 1.5 * queue.ideal_s);
}

TEST_CASE("a shared link costs no requests", "[scale]") {
  const SimulatedOutcome shared =
      simulate({.requests_per_s = 0, .bytes_per_s = 20e9}, {.replicas = 100, .model_bytes = 4e9});
  CHECK(shared.failed == 0);
  CHECK(shared.refused == 0);
  CHECK(shared.last_s < 1.3 * shared.ideal_s);
}

TEST_CASE("a store that asks for fewer requests is asked more often than one that fails",
          "[scale]") {
  const RetryPolicy policy;
  const auto attempts_at = [&](Again again) {
    Attempts attempts(policy);
    while (attempts.next({.again = again, .error = Error(ErrorKind::io, "refused")}, false)) {
    }
    return attempts.made();
  };
  CHECK(attempts_at(Again::soon) == policy.attempts);
  CHECK(attempts_at(Again::throttled) == 2 * policy.attempts);
  CHECK(RetryPolicy{.attempts = 1}.most_attempts(Again::throttled) == 1);
}
