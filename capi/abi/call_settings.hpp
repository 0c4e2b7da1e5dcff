// SPDX-License-Identifier: Apache-2.0
#pragma once
// Settings that any call takes.

#include "base/setting.hpp"

namespace streamer::core::setting {

inline constexpr Setting kOperationTimeoutMs{
    RowOf<Scope::call>{
        .name = "operation_timeout_ms",
        .default_text = "none",
        .meaning = "Opening a checkpoint, a listing, a pull, a snapshot or a diagnosis that "
                   "takes longer than this in all, retries included, ends with timed_out. Loads "
                   "have progress_timeout_ms."},
    OptionalDuration("none", Duration::milliseconds_to(86'400'000))};

}  // namespace streamer::core::setting

namespace streamer::core {

inline constexpr const SettingRow* kCallSettings[] = {&setting::kOperationTimeoutMs};

}  // namespace streamer::core
