// SPDX-License-Identifier: Apache-2.0
#pragma once
// Sleeping on an atomic word with a deadline, which std::atomic::wait does not have.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>

namespace streamer::core::inline base {

using SteadyTime = std::chrono::steady_clock::time_point;

// Sleeps while word == expected, until woken or until the deadline (nullopt: none). May wake for no
// reason. Orders no memory: what was published is read through atomics after it returns.
void futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                std::optional<SteadyTime> deadline) noexcept;

void futex_wake_all(const std::atomic<std::uint32_t>& word) noexcept;

}  // namespace streamer::core::inline base
