// SPDX-License-Identifier: Apache-2.0
#pragma once
// Many replicas that load the same model from one store at the same time, in simulated time. The
// decisions are the library's own code: how many connections (Tuner), how large a request
// (request_bytes), whether and when to try again (Attempts, retry_delay, RetryBudget). What is
// simulated is the rest: a store that refuses requests beyond its rate, links, and latency.

#include <cstdint>

namespace streamer::test {

struct SimulatedStore {
  // What Amazon S3 documents for a prefix: 5,500 GET requests per second; beyond it, 503. 0: never.
  double requests_per_s = 5500;
  std::uint32_t prefixes = 1;  // over which the shards are spread
  double bytes_per_s = 0;      // to all clients together; 0: as much as they take
  double connection_bytes_per_s = 90e6;
  double first_byte_s = 0.03;
};

struct SimulatedLoads {
  std::uint32_t replicas = 1;
  double model_bytes = 16e9;
  std::uint32_t shards = 8;
  double link_bytes_per_s = 3.1e9;  // of each replica: 25 Gbit/s
  double spread_s = 0;              // over which their starts are spread evenly
  // To see what the policy is worth: each failed request is repeated after so long, for ever.
  double naive_retry_s = 0;
};

struct SimulatedOutcome {
  double first_s = 0;  // when the first replica had its model, since the first start
  double median_s = 0;
  double last_s = 0;
  // The last one's time if nothing limited it but links, the store's bandwidth and its request
  // rate, at the fewest requests.
  double ideal_s = 0;
  std::uint64_t requests = 0;
  std::uint64_t refused = 0;           // of them, with 503
  std::uint32_t failed = 0;            // replicas that gave up
  std::uint32_t most_connections = 0;  // of one replica
};

// The same numbers give the same outcome up to the chance in retries. Ends after a simulated day.
[[nodiscard]] SimulatedOutcome simulate(const SimulatedStore& store, const SimulatedLoads& loads);

}  // namespace streamer::test
