// SPDX-License-Identifier: Apache-2.0
#pragma once
// Random numbers for waits that must not all end at once. Not for secrets.

#include <random>

namespace streamer::core::inline base {

// Thread-safe. In [0, 1).
[[nodiscard]] inline double chance() {
  thread_local std::minstd_rand generator{std::random_device{}()};
  return std::uniform_real_distribution<double>(0.0, 1.0)(generator);
}

}  // namespace streamer::core::inline base
