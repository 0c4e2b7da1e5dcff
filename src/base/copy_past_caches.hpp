// SPDX-License-Identifier: Apache-2.0
#pragma once
// memcpy(3) for bytes that this thread does not read again: on x86-64 with stores that bypass the
// caches, which then keep what is still needed. A seventh less CPU per byte of a load over http
// (tests/bench/libcurl_bench.cpp).

#include <cstddef>

namespace streamer::core::inline base {

// Ordered like plain stores once it returns.
void copy_past_caches(std::byte* to, const char* from, std::size_t size) noexcept;

}  // namespace streamer::core::inline base
