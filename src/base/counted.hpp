// SPDX-License-Identifier: Apache-2.0
#pragma once
// "1 file", "2 files". Header-only, because the command uses it too and sees nothing else of this
// room.

#include <cstdint>
#include <string>
#include <string_view>

namespace streamer::core::inline base {

[[nodiscard]] inline std::string counted(std::uint64_t number, std::string_view one,
                                         std::string_view several) {
  return std::to_string(number) + " " + std::string(number == 1 ? one : several);
}
// Of a noun that takes an s.
[[nodiscard]] inline std::string counted(std::uint64_t number, std::string_view one) {
  return counted(number, one, std::string(one) + "s");
}

}  // namespace streamer::core::inline base
