// SPDX-License-Identifier: Apache-2.0
#include "engine/tuner.hpp"

#include "support/catch.hpp"

using namespace streamer::core;
using namespace std::chrono_literals;

namespace {

// A network of known speed, and a tuner on it, for some seconds of made-up time.
struct Simulated {
  double connection_rate = 10e6;
  double total_rate = 100e6;

  void run(Tuner& tuner, std::chrono::milliseconds time) {
    for (const SteadyTime end = now + time; now < end; now += 50ms) {
      bytes += std::min(tuner.target() * connection_rate, total_rate) * 0.05;
      tuner.observe(now, static_cast<std::uint64_t>(bytes), 20ms, true);
      most = std::max(most, tuner.target());
    }
  }

  SteadyTime now{};
  double bytes = 0;
  std::uint32_t most = 0;
};

}  // namespace

TEST_CASE("connections grow while they bring more, and not much further", "[tuner]") {
  Simulated network{.connection_rate = 10e6, .total_rate = 600e6};
  Tuner tuner({.first = 8, .most = 256});
  network.run(tuner, 3s);
  CHECK(tuner.target() >= 54);
  network.run(tuner, 30s);
  CHECK(tuner.target() >= 54);
  CHECK(network.most <= 160);
}

TEST_CASE("connections that bring nothing are given back", "[tuner]") {
  Simulated network{.connection_rate = 100e6, .total_rate = 200e6};
  Tuner tuner({.first = 8, .most = 256});
  network.run(tuner, 20s);
  CHECK(network.most <= 32);
  CHECK(tuner.target() <= 10);
}

TEST_CASE("throttling takes connections, once per second", "[tuner]") {
  Tuner tuner({.first = 100, .most = 100});
  const SteadyTime now{10s};
  tuner.throttled(now);
  tuner.throttled(now + 10ms);
  CHECK(tuner.target() == 70);
  tuner.throttled(now + 1100ms);
  CHECK(tuner.target() == 49);
  Tuner one({.first = 1, .most = 10});
  one.throttled(now);
  CHECK(one.target() == 1);
}

TEST_CASE("a fixed number stays, but for throttling, and comes back", "[tuner]") {
  Simulated network{.connection_rate = 10e6, .total_rate = 50e6};
  Tuner tuner({.first = 32, .most = 256, .is_fixed = true});
  network.run(tuner, 5s);
  CHECK(tuner.target() == 32);
  tuner.throttled(network.now);
  CHECK(tuner.target() == 22);
  network.run(tuner, 5s);
  CHECK(tuner.target() == 32);
}

TEST_CASE("idle time says nothing", "[tuner]") {
  Tuner tuner({.first = 8, .most = 256});
  for (SteadyTime now{}; now < SteadyTime(20s); now += 50ms)
    tuner.observe(now, 0, 20ms, false);
  CHECK(tuner.target() == 8);
}

TEST_CASE("one bad window is not held against a step", "[tuner]") {
  // For 100 ms, nothing arrives: the machine did something else. Wherever that falls, the network
  // is found.
  for (int hiccup = 0; hiccup < 20; ++hiccup) {
    Simulated network{.connection_rate = 5e6, .total_rate = 300e6};
    Tuner tuner({.first = 8, .most = 256});
    network.run(tuner, hiccup * 50ms);
    network.connection_rate = 0;
    network.run(tuner, 100ms);
    network.connection_rate = 5e6;
    network.run(tuner, 1s);
    INFO("after " << hiccup * 50 << " ms");
    CHECK(tuner.target() >= 48);
  }
}
