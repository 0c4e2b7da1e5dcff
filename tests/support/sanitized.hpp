// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether this is a build whose speed and memory are the sanitizer's.

namespace streamer::test {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr bool kIsSanitized = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
constexpr bool kIsSanitized = true;
#else
constexpr bool kIsSanitized = false;
#endif
#else
constexpr bool kIsSanitized = false;
#endif

// For a store that is to be taken for silent soon: as long as one that is merely slow never needs.
constexpr const char* kShortStallMs = kIsSanitized ? "1500" : "300";

}  // namespace streamer::test
