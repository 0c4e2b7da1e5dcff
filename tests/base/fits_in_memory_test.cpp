// SPDX-License-Identifier: Apache-2.0
#include "base/fits_in_memory.hpp"

#include "support/catch.hpp"

using namespace streamer::core;

TEST_CASE("running out of memory at the top of a thread is an answer, not the end", "[memory]") {
  CHECK(fits_in_memory([] {}));
  CHECK_FALSE(fits_in_memory([] { throw std::bad_alloc(); }));
}
