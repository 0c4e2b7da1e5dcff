// SPDX-License-Identifier: Apache-2.0
#include "base/copy_past_caches.hpp"

#include <cstdint>
#include <cstring>

// Sanitizers do not see stores through intrinsics: under them this is memcpy(3), which they see.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define STREAMER_STORES_ARE_WATCHED
#endif
#endif
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define STREAMER_STORES_ARE_WATCHED
#endif

#if defined(__SSE2__) && !defined(STREAMER_STORES_ARE_WATCHED)
#include <emmintrin.h>

namespace streamer::core::inline base {

namespace {

// Below this size the caches are the better place.
constexpr std::size_t kLeastBytes = 1024;
constexpr std::size_t kWord = sizeof(__m128i);
constexpr std::size_t kLine = 4 * kWord;

}  // namespace

void copy_past_caches(std::byte* to, const char* from, std::size_t size) noexcept {
  if (size < kLeastBytes) {
    std::memcpy(to, from, size);
    return;
  }
  // Whole lines only: a part of one would be read from memory to be written back.
  const std::size_t before = (kLine - reinterpret_cast<std::uintptr_t>(to) % kLine) % kLine;
  std::memcpy(to, from, before);
  to += before;
  from += before;
  size -= before;
  for (; size >= kLine; size -= kLine, to += kLine, from += kLine) {
    const auto* const words = reinterpret_cast<const __m128i*>(from);
    const __m128i a = _mm_loadu_si128(words);
    const __m128i b = _mm_loadu_si128(words + 1);
    const __m128i c = _mm_loadu_si128(words + 2);
    const __m128i d = _mm_loadu_si128(words + 3);
    auto* const line = reinterpret_cast<__m128i*>(to);
    _mm_stream_si128(line, a);
    _mm_stream_si128(line + 1, b);
    _mm_stream_si128(line + 2, c);
    _mm_stream_si128(line + 3, d);
  }
  // Streaming stores pass each other and plain ones: a release store behind them would not wait.
  _mm_sfence();
  std::memcpy(to, from, size);
}

}  // namespace streamer::core::inline base

#else

namespace streamer::core::inline base {

void copy_past_caches(std::byte* to, const char* from, std::size_t size) noexcept {
  std::memcpy(to, from, size);
}

}  // namespace streamer::core::inline base

#endif
