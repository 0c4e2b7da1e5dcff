// SPDX-License-Identifier: Apache-2.0
#pragma once
// The only way to Catch2: version 2 has one header, version 3 several.

#include <string>

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
// By the names that version 2 has for them.
namespace Catch {
inline Matchers::StringContainsMatcher Contains(const std::string& text) {
  return Matchers::ContainsSubstring(text);
}
using Matchers::StartsWith;
}  // namespace Catch
#else
#include <catch2/catch.hpp>
#endif

namespace streamer::test {

// For a test that this machine or this user cannot run: `return skip("root may read everything")`.
// The summary counts it as skipped, and says why (Catch2 has this from version 3.3 on only).
void skip(const std::string& reason);

}  // namespace streamer::test
