// SPDX-License-Identifier: Apache-2.0
#pragma once
// The top of a thread of the library, which no exception may leave: it would end the host's
// process.

#include <new>

namespace streamer::core::inline base {

// Runs body; false if an allocation in it failed, after unwinding.
template <typename Body>
[[nodiscard]] bool fits_in_memory(Body&& body) {
  try {
    body();
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

}  // namespace streamer::core::inline base
