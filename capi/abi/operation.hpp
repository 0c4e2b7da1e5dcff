// SPDX-License-Identifier: Apache-2.0
#pragma once
// How the caller's operation and the setting operation_timeout_ms reach the code that blocks.

#include "base/log_environment.hpp"
#include "base/operation.hpp"
#include "boundary.hpp"
#include "call_settings.hpp"
#include "misspelt_variables.hpp"

struct streamer_operation {
  mutable streamer::core::Operation operation;  // thread-safe
};

namespace streamer::capi {

// If the work is over, replaces a failure that it caused by the work's own error.
Error error_of(const core::Work& work, Error error);

// guarded(), with work for the caller's operation, which may be NULL, as what is current. name:
// "opening the checkpoint".
template <typename Body>
streamer_status operate(const char* name, const streamer_settings* settings,
                        streamer_operation* operation, streamer_error** error_out,
                        Body&& body) noexcept {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    core::follow_log_environment();
    warn_of_misspelt_variables();
    const auto& timeout = core::setting::kOperationTimeoutMs;
    const auto limit =
        TRY((settings == nullptr ? core::Settings() : settings->settings).get(timeout));
    const core::Work work(name, operation == nullptr ? nullptr : &operation->operation, limit,
                          timeout.name());
    const core::WorkScope scope(&work);
    TRY(core::still_wanted("about to begin"));
    Result<streamer_status> outcome = body();
    if (!outcome) return error_of(work, std::move(outcome).error());
    return outcome;
  });
}

}  // namespace streamer::capi
