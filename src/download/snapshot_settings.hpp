// SPDX-License-Identifier: Apache-2.0
#pragma once
// Settings of snapshots.

#include "base/setting.hpp"

namespace streamer::core::setting {

inline constexpr Setting kCacheFolder{
    RowOf<Scope::store>{
        .name = "cache_folder",
        .meaning = "Where snapshots of models' small files are kept. auto is "
                   "$XDG_CACHE_HOME/libstreamer, or else ~/.cache/libstreamer. Anyone who may "
                   "write to it controls what programs read from it."},
    Text("a path")};

}  // namespace streamer::core::setting

namespace streamer::core::inline download {

inline constexpr const SettingRow* kSnapshotSettings[] = {&setting::kCacheFolder};

}  // namespace streamer::core::inline download
