// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/settings.hpp"

namespace streamer::core::inline storage {

// The settings of all stores.
[[nodiscard]] SettingRows store_settings();

using StoreSettings = SettingValues<Scope::store>;
inline Result<StoreSettings> read_store_settings(const Settings& settings) {
  return settings.read<Scope::store>(store_settings());
}

}  // namespace streamer::core::inline storage
