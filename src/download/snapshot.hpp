// SPDX-License-Identifier: Apache-2.0
#pragma once
// A model's small files in a local folder, one folder for each version of them: the first process
// pulls them, and all others find them there.

#include <string>
#include <vector>

#include "base/result.hpp"
#include "download/pull.hpp"

namespace streamer::core::inline download {

struct SnapshotOptions {
  std::string cache;  // empty: $XDG_CACHE_HOME/libstreamer, or ~/.cache/libstreamer
  PullOptions files;  // without a pattern: all except files named like weights
  std::uint64_t bandwidth_bytes_per_s = 0;  // 0: no cap
};

struct Snapshot {
  std::string folder;
  std::vector<PulledFile> files;
};

// Makes cache/NAME-HASH/VERSION, with the selected objects below uri as one listing named them:
// VERSION is made of their paths, ETags and sizes, so that a folder never changes once it exists.
// It appears whole, under a lock that other processes wait for, and an existing one is used only if
// the digests noted with it are right. If an object is replaced during the pull, it starts over, a
// few times, and then fails with object_changed. A local folder is its own snapshot. not_found if
// the patterns leave nothing, unsupported if the store's listing has no ETags, permission_denied if
// another user may have written to NAME-HASH.
Result<Snapshot> take_snapshot(Stores& stores, const Uri& uri, const SnapshotOptions& options);

}  // namespace streamer::core::inline download
