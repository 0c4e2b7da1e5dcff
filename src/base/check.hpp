// SPDX-License-Identifier: Apache-2.0
#pragma once
// Checks for bugs in the library. Never for mistakes of a caller or a store: those are Errors.

#include <cassert>

// Ends the program in debug builds and tests; vanishes in release builds.
#define STREAMER_CHECK(condition) assert(condition)
