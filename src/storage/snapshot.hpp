// SPDX-License-Identifier: Apache-2.0
#pragma once
// A model's small files in a folder of this machine, one folder for each version of them: who comes
// first pulls them, and all others find them there.

#include <string>
#include <vector>

#include "base/result.hpp"
#include "storage/pull.hpp"

namespace streamer::core {

struct SnapshotOptions {
  std::string cache;  // empty: $XDG_CACHE_HOME/libstreamer, or ~/.cache/libstreamer
  PullOptions files;  // without a pattern: all but what is named like weights
  std::uint64_t bandwidth_bytes_per_s = 0;  // 0: no cap
};

struct Snapshot {
  std::string folder;
  std::vector<PulledFile> files;
};

// cache/NAME-HASH/VERSION, with the chosen objects below uri as one listing named them: VERSION is
// made of their paths, ETags and sizes, so that a folder never changes once it is there. It appears
// whole, under a lock that other processes wait for, and is taken as it is only if the digests that
// were noted with it are right. An object that is replaced meanwhile starts it again, a few times:
// object_changed. A local folder is its own snapshot. not_found if the patterns leave nothing,
// unsupported if the store's listing has no ETags, permission_denied if NAME-HASH may be another
// user's doing.
Result<Snapshot> take_snapshot(Stores& stores, const Uri& uri, const SnapshotOptions& options);

}  // namespace streamer::core
