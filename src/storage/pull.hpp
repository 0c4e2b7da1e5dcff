// SPDX-License-Identifier: Apache-2.0
#pragma once
// Objects to a folder: whole under their names or not at all, and never outside the folder.

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "storage/store.hpp"

namespace streamer::core {

struct PullOptions {
  // fnmatch(3) patterns; one of them must match, unless there is none. A pattern is held against
  // the key, the path below the folder that is pulled; '*' crosses '/'.
  std::vector<std::string> allow;
  std::vector<std::string> ignore;  // none of them may match
};

struct WantedFile {
  Entry entry;
  std::string path;  // below the folder
};

struct PulledFile {
  std::string path;  // in the folder
  std::uint64_t bytes = 0;
  std::string etag;  // of the version that was pulled
};

// Files directly under uri, or everything below it, that the patterns allow, sorted.
Result<std::vector<Entry>> matching_entries(Store& store, const Uri& uri, ListDepth depth,
                                            const PullOptions& options);

// What below uri the patterns allow, sorted by path. invalid_argument if one's path is not safe.
Result<std::vector<WantedFile>> choose_files(Store& store, const Uri& uri,
                                             const PullOptions& options);

// To folder, which is made if need be, but not what it stands in.
Result<std::vector<PulledFile>> pull_files(Stores& stores, const std::vector<WantedFile>& wanted,
                                           const std::string& folder);

// Every object below uri that the patterns allow, to folder/<its path below uri>; folders are made
// as needed. Several at once; a file that is there is replaced in one step. The first failure ends
// it; what was whole by then stays. Sorted by path.
Result<std::vector<PulledFile>> pull(Stores& stores, const Uri& uri, const std::string& folder,
                                     const PullOptions& options);

// Whether a path below a folder stays in it and can be a path of files: no empty component, no "."
// and "..", no backslash, no NUL, no component longer than 255 bytes.
[[nodiscard]] bool is_safe_path(std::string_view path) noexcept;

}  // namespace streamer::core
