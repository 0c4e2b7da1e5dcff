// SPDX-License-Identifier: Apache-2.0
#include "base/copy_past_caches.hpp"

#include <cstring>
#include <vector>

#include "support/catch.hpp"

using namespace streamer::core;

TEST_CASE("a copy past the caches is a copy, wherever it begins and ends", "[base]") {
  std::vector<char> from(8192);
  for (std::size_t i = 0; i < from.size(); ++i)
    from[i] = static_cast<char>(i * 31 + i / 251);
  for (std::size_t at = 0; at < 70; at += 3) {
    for (const std::size_t size :
         std::vector<std::size_t>{0, 1, 63, 64, 1023, 1024, 1025, 1087, 4096, 7001}) {
      std::vector<std::byte> to(8192, std::byte{0xA5});
      copy_past_caches(to.data() + at, from.data() + at % 7, size);
      const bool is_copied = std::memcmp(to.data() + at, from.data() + at % 7, size) == 0;
      const bool is_clean =
          (at == 0 || to[at - 1] == std::byte{0xA5}) && to[at + size] == std::byte{0xA5};
      INFO(at << " " << size);
      CHECK(is_copied);
      CHECK(is_clean);
    }
  }
}
