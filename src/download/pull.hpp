// SPDX-License-Identifier: Apache-2.0
#pragma once
// Copies objects to a folder: each whole under its name or not at all, and never outside the
// folder.

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "storage/store.hpp"

namespace streamer::core::inline download {

struct PullOptions {
  // fnmatch(3) patterns; if there are any, one must match. A pattern is matched against the key,
  // the path below the folder that is pulled; '*' also matches '/'.
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
  std::string etag;        // of the version that was pulled
  bool was_there = false;  // it already had the same bytes and was left alone
};

// How files are written to a folder.
struct PullTarget {
  bool skips_same = true;                   // existing files with the same bytes are left alone
  std::uint64_t bandwidth_bytes_per_s = 0;  // 0: no cap
  mode_t folder_mode = 0777;                // less the process's umask, as the next one
  mode_t file_mode = 0666;
};

struct PullOutcome {
  std::vector<PulledFile> files;  // in the order in which they were wanted
  std::vector<Error> failures;    // of objects that others do not depend on
};

// The files directly under uri, or below it, that the patterns allow, sorted.
Result<std::vector<Entry>> matching_entries(Store& store, const Uri& uri, ListDepth depth,
                                            const PullOptions& options);

// The files below uri that the patterns allow, sorted by path. Some may have no safe path.
Result<std::vector<WantedFile>> choose_files(Store& store, const Uri& uri,
                                             const PullOptions& options);

// Copies to folder, which is created if it does not exist, but not its parents. An error that
// concerns one object only, such as a name that cannot be a path, does not stop the others; any
// other error does. Counts toward the progress of the thread's current operation.
Result<PullOutcome> pull_files(Stores& stores, const std::vector<WantedFile>& wanted,
                               const std::string& folder, const PullTarget& target);

// Copies every object below uri that the patterns allow to folder/<its path below uri>; folders are
// made as needed. Several at once; an existing file is replaced in one step, unless it is the same.
// Objects that cannot be pulled are reported at the end, once all others are there. Sorted by path.
Result<std::vector<PulledFile>> pull(Stores& stores, const Uri& uri, const std::string& folder,
                                     const PullOptions& options, const PullTarget& target);

// Why a path cannot be below a folder, or would lead out of it; empty: it can. Static storage.
[[nodiscard]] std::string_view why_no_path(std::string_view path) noexcept;
[[nodiscard]] inline bool is_safe_path(std::string_view path) noexcept {
  return why_no_path(path).empty();
}
// The error of a file whose path is not safe.
[[nodiscard]] Error no_path_error(const WantedFile& file);

}  // namespace streamer::core::inline download
