// SPDX-License-Identifier: Apache-2.0
#pragma once
// Patterns in URIs, as a shell has them: * and [...] within one name, ** for any number of folders,
// and ? in local paths only, because elsewhere it begins a query. An object that has exactly the
// name of the pattern is what is meant. https:// has no listings, and so no patterns.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "streamer/streamer.hpp"

namespace streamer::cli {

// Pure. Whether there is something to match with in the URI.
[[nodiscard]] bool has_glob(std::string_view uri);

// What the pattern matches, sorted by URI; nullopt if the URI is no pattern. Errors: not_found if
// nothing matches, and those of a listing.
Result<std::optional<std::vector<Entry>>> match_glob(const std::string& uri,
                                                     const Settings& settings);

// Each URI that is a pattern replaced by what it matches.
Result<std::vector<std::string>> expand_globs(const std::vector<std::string>& uris,
                                              const Settings& settings);

// The folder before the first name with a wildcard: "s3://bucket/models/" of
// "s3://bucket/models/*/x". Requires has_glob().
[[nodiscard]] std::string folder_before_glob(std::string_view uri);

}  // namespace streamer::cli
