// SPDX-License-Identifier: Apache-2.0
#pragma once
// Environment variables that resemble the library's but are not read: without a warning, a typo
// would go unnoticed.

#include <string>
#include <string_view>
#include <vector>

namespace streamer::capi {

// One sentence for each of `names` that begins with STREAMER_, that nothing of ours reads, and that
// is close to what something reads. Others may be another program's.
[[nodiscard]] std::vector<std::string> misspelt_variables(
    const std::vector<std::string_view>& names);

// Warns of those of the process's environment, in one line of the log, once in its life.
// Thread-safe.
void warn_of_misspelt_variables();

}  // namespace streamer::capi
