// SPDX-License-Identifier: Apache-2.0
#pragma once
// The one list of all settings: each room's.

#include "base/settings.hpp"

namespace streamer::capi {

// Sorted by name.
[[nodiscard]] core::SettingRows all_settings();

// By its name: what comes from outside is text.
core::Result<void> set_by_name(core::Settings& settings, std::string_view name,
                               std::string_view value, std::string_view prefix = "");

}  // namespace streamer::capi
