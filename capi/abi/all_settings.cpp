// SPDX-License-Identifier: Apache-2.0
#include "all_settings.hpp"

#include <algorithm>

#include "call_settings.hpp"
#include "checkpoint/checkpoint_settings.hpp"
#include "distributed/distributed_settings.hpp"
#include "download/snapshot_settings.hpp"
#include "engine/load_settings.hpp"
#include "engine/process_settings.hpp"
#include "storage/store_settings.hpp"

namespace streamer::capi {

core::SettingRows all_settings() {
  static const auto all = [] {
    auto rows =
        core::joined({core::kCallSettings, core::kCheckpointSettings, core::kDistributedSettings,
                      core::kLoadSettings, core::kProcessSettings, core::kSnapshotSettings,
                      core::store_settings()});
    std::sort(rows.begin(), rows.end(),
              [](const auto* a, const auto* b) { return std::string_view(a->name()) < b->name(); });
    return rows;
  }();
  return all;
}

core::Result<void> set_by_name(core::Settings& settings, std::string_view name,
                               std::string_view value, std::string_view prefix) {
  return settings.set(*TRY(core::find_setting(all_settings(), name)), value, prefix);
}

}  // namespace streamer::capi
