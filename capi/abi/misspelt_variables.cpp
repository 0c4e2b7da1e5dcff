// SPDX-License-Identifier: Apache-2.0
#include "misspelt_variables.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>

#include "all_settings.hpp"
#include "base/log.hpp"
#include "base/nearest.hpp"

namespace streamer::capi {

namespace {

constexpr std::string_view kOurs = "STREAMER_";
// Variables read by the log, by the Python packages, and by tests.
constexpr std::string_view kOthers[] = {"LOG_FILE", "LOG_LEVEL", "LIBRARY"};
constexpr std::string_view kOfTests = "TEST_";

// Without STREAMER_.
std::vector<std::string_view> known_variables() {
  std::vector<std::string_view> known(std::begin(kOthers), std::end(kOthers));
  for (const core::SettingRow* const row : all_settings())
    known.push_back(std::string_view(row->variable()).substr(kOurs.size()));
  return known;
}

}  // namespace

std::vector<std::string> misspelt_variables(const std::vector<std::string_view>& names) {
  const std::vector<std::string_view> known = known_variables();
  std::vector<std::string> found;
  for (const std::string_view name : names) {
    if (!name.starts_with(kOurs) || name.size() > core::kLongestName) continue;
    const std::string_view own = name.substr(kOurs.size());
    if (own.starts_with(kOfTests) || std::find(known.begin(), known.end(), own) != known.end())
      continue;
    const std::string meant = core::nearest_or_behind("DEBUG_", own, known);
    if (meant.empty()) continue;
    found.push_back(fmt::format("{} is not a setting; did you mean {}{}?", name, kOurs, meant));
  }
  return found;
}

void warn_of_misspelt_variables() {
  static std::once_flag once;
  std::call_once(once, [] {
    std::vector<std::string_view> names;
    for (const char* const* one = environ; one != nullptr && *one != nullptr; ++one) {
      const std::string_view entry = *one;
      names.push_back(entry.substr(0, entry.find('=')));
    }
    std::sort(names.begin(), names.end());
    if (const auto found = misspelt_variables(names); !found.empty())
      core::log_line(core::LogLevel::warning,
                     fmt::format("in the environment {}", fmt::join(found, " ")));
  });
}

}  // namespace streamer::capi
