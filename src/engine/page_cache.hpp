// SPDX-License-Identifier: Apache-2.0
#pragma once
// What of a file is in the page cache.

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/bytes.hpp"

namespace streamer::core::inline engine {

enum class Cached { all, not_all };

// Asks for each page where the kernel answers that (cachestat(2), Linux 6.5); elsewhere the range's
// last page stands for all of it. range must not be empty.
Cached ask_page_cache(int fd, ByteRange range);

// About how many bytes of the range are not in the page cache: an eighth of a large one is asked
// for, here and there, because each page of it costs the kernel a look. Where it does not answer
// for an open file, it is asked for a mapping of the range, which begins on a page. nullopt: no
// answer, and no mapping to ask for (nullptr).
std::optional<std::uint64_t> uncached_bytes(int fd, ByteRange range, std::byte* mapping);

}  // namespace streamer::core::inline engine
