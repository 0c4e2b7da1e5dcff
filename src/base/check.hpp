// SPDX-License-Identifier: Apache-2.0
#pragma once
// Checks for our own bugs. Never for what a caller or a store may get wrong: those are Errors.

#include <cassert>

// Ends the program in debug builds and tests; vanishes in release builds.
#define STREAMER_CHECK(condition) assert(condition)
