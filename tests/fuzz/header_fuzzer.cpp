// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: the input's first two bytes say how much data stands behind the header, the
// rest is the header.
#include <cstddef>

#include "fuzz/header_fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::uint64_t data_bytes = data[0] | static_cast<std::uint64_t>(data[1]) << 8U;
  const std::string_view header(reinterpret_cast<const char*>(data) + 2, size - 2);
  streamer::test::check_header(header, data_bytes);
  // The exact length as well: else hardly any input gets to the last rule.
  for (const std::uint64_t exact : {0ULL, 1ULL, 8ULL, 16ULL}) {
    streamer::test::check_header(header, exact);
  }
  return 0;
}
