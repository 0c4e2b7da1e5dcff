// SPDX-License-Identifier: Apache-2.0
#include "engine/request_size.hpp"

#include "support/catch.hpp"

using namespace streamer::core;

namespace {

constexpr double kMi = kMiB;

RequestNeed large_load() {
  return {.unclaimed_bytes = 100e9, .connections = 8, .own_connections = 8};
}

}  // namespace

TEST_CASE("the first requests are short, later ones as long as they may be", "[request-size]") {
  RequestNeed need = large_load();
  CHECK(request_bytes(need) == 8 * kMi);
  need.asked_bytes = 8 * kMi;
  CHECK(request_bytes(need) == 9 * kMi);
  need.asked_bytes = 128 * kMi;
  CHECK(request_bytes(need) == 24 * kMi);
  need.asked_bytes = 10e9;
  CHECK(request_bytes(need) == 64 * kMi);
}

TEST_CASE("the last requests are short, so that all connections end together", "[request-size]") {
  RequestNeed need = large_load();
  need.asked_bytes = 100e9;
  need.unclaimed_bytes = 80 * kMi;
  CHECK(request_bytes(need) == 10 * kMi);
  need.claimed_bytes = 80 * kMi;
  CHECK(request_bytes(need) == 20 * kMi);
}

TEST_CASE("a request lasts ten times as long as the wait for its first byte", "[request-size]") {
  RequestNeed need = large_load();
  need.first_byte_s = 0.02;
  need.bytes_per_s = 100e6;
  CHECK(request_bytes(need) == 20e6);
  need.unclaimed_bytes = 1e6;
  CHECK(request_bytes(need) == 20e6);
  need.bytes_per_s = 1e9;
  CHECK(request_bytes(need) == 64 * kMi);
}

TEST_CASE("requests leave three quarters of a window free", "[request-size]") {
  RequestNeed need = large_load();
  need.asked_bytes = 10e9;
  need.window_bytes = 128 * kMi;
  CHECK(request_bytes(need) == 4 * kMi);
  need.first_byte_s = 1;
  need.bytes_per_s = 1e9;
  CHECK(request_bytes(need) == 4 * kMi);
}
