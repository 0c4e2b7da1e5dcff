// SPDX-License-Identifier: Apache-2.0
#pragma once
// Tells whether this is still the process in which something was made.

#include <cstdint>

namespace streamer::core::inline base {

// How often this process and its ancestors have forked since the first call: differs between a
// parent and its child. One relaxed load after the first call, where getpid() would be a system
// call.
[[nodiscard]] std::uint32_t fork_generation() noexcept;

}  // namespace streamer::core::inline base
