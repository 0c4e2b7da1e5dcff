// SPDX-License-Identifier: Apache-2.0
#include "boundary.hpp"
#include "engine/process_settings.hpp"

using namespace streamer::capi;
namespace core = streamer::core;

extern "C" {

streamer_status streamer_process_configure(const streamer_settings* settings,
                                           streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    const core::Settings given = settings == nullptr ? core::Settings() : settings->settings;
    TRY(given.check_all_of(core::Scope::process));
    core::ProcessShare::mine().set_limits(TRY(core::read_process_limits(given)));
    return STREAMER_OK;
  });
}

void streamer_process_get_use(streamer_process_use* use_out) {
  if (use_out == nullptr) return;
  const core::ProcessUse use = core::ProcessShare::mine().use();
  streamer_process_use out = STREAMER_PROCESS_USE_INIT;
  out.memory_bytes = use.memory_bytes;
  out.memory_limit_bytes = use.memory_limit_bytes;
  out.loads = use.loads;
  out.network_loads = use.network_loads;
  copy_out_if_sound(out, use_out);
}

}  // extern "C"
