// SPDX-License-Identifier: Apache-2.0
#pragma once
// What was most likely meant by a mistyped name. Header-only, because the command uses it too and
// sees nothing else of this room.

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace streamer::core::inline base {

constexpr std::size_t kLongestName = 64;

// How many letters are wrong, missing, too many, or swapped with their neighbour.
[[nodiscard]] inline std::size_t typing_errors(std::string_view given, std::string_view meant) {
  if (std::max(given.size(), meant.size()) > kLongestName) return kLongestName;
  std::array<std::array<std::size_t, kLongestName + 1>, 3> rows{};
  for (std::size_t j = 0; j <= meant.size(); ++j)
    rows[0][j] = j;
  for (std::size_t i = 1; i <= given.size(); ++i) {
    auto& row = rows[i % 3];
    const auto& before = rows[(i - 1) % 3];
    row[0] = i;
    for (std::size_t j = 1; j <= meant.size(); ++j) {
      const std::size_t change = given[i - 1] == meant[j - 1] ? 0 : 1;
      row[j] = std::min({before[j] + 1, row[j - 1] + 1, before[j - 1] + change});
      const bool is_swap =
          i > 1 && j > 1 && given[i - 1] == meant[j - 2] && given[i - 2] == meant[j - 1];
      if (is_swap) row[j] = std::min(row[j], rows[(i - 2) % 3][j - 2] + 1);
    }
  }
  return rows[given.size() % 3][meant.size()];
}

// The name that differs least from `given`, by no more than a third of its letters, or that begins
// with it; empty if none does. names: of anything that becomes a std::string_view.
template <typename Names>
[[nodiscard]] std::string_view nearest(std::string_view given, const Names& names) {
  std::string_view best;
  std::size_t least = kLongestName;
  for (const std::string_view name : names) {
    const bool is_start = given.size() >= 3 && name.starts_with(given);
    const std::size_t errors = is_start ? 0 : typing_errors(given, name);
    if (errors > std::max(given.size(), name.size()) / 3 || errors >= least) continue;
    best = name;
    least = errors;
  }
  return best;
}

// The same; if no name is near, or the whole of one without its prefix was given, the nearest of
// those that begin with prefix, which was left out.
template <typename Names>
[[nodiscard]] std::string nearest_or_behind(std::string_view prefix, std::string_view given,
                                            const Names& names) {
  std::vector<std::string_view> behind;
  for (const std::string_view name : names) {
    if (name.starts_with(prefix)) behind.push_back(name.substr(prefix.size()));
  }
  std::string_view best = nearest(given, names);
  const bool is_meant = std::find(behind.begin(), behind.end(), given) != behind.end();
  if (!best.empty() && !is_meant) return std::string(best);
  best = nearest(given, behind);
  return best.empty() ? std::string() : std::string(prefix) + std::string(best);
}

}  // namespace streamer::core::inline base
