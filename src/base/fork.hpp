// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether this process is still the one in which something was made.

#include <cstdint>

namespace streamer::core {

// How often this process and its forebears forked since this was first called: differs between a
// parent and its child. One relaxed load after the first call, where getpid() would be a system
// call.
[[nodiscard]] std::uint32_t fork_generation() noexcept;

}  // namespace streamer::core
