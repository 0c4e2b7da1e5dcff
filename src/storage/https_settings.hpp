// SPDX-License-Identifier: Apache-2.0
#pragma once
// Settings of plain web servers.

#include "base/setting.hpp"

namespace streamer::core::setting {

inline constexpr Setting kHttpsBearerToken{
    RowOf<Scope::store>{.name = "https_bearer_token",
                        .meaning = "The bearer token for plain https:// URLs; sent to the host "
                                   "that the URL names and to no other. Never logged.",
                        .is_credential = true},
    SecretText("a token")};

}  // namespace streamer::core::setting

namespace streamer::core::inline storage {

inline constexpr const SettingRow* kHttpsSettings[] = {&setting::kHttpsBearerToken};

}  // namespace streamer::core::inline storage
