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

// How many bytes of the range, in whole pages, are not in the page cache. Never guesses: where the
// kernel does not answer for an open file, it is asked for a mapping of its range, which begins on
// a page. nullopt: no answer, and no mapping to ask for (nullptr).
std::optional<std::uint64_t> uncached_bytes(int fd, ByteRange range, std::byte* mapping);

}  // namespace streamer::core::inline engine
