// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "boundary.hpp"
#include "gpu/copy_rate.hpp"
#include "gpu/gpu_kinds.hpp"
#include "gpu/kept_segments.hpp"
#include "memory/arena.hpp"

using namespace streamer::capi;
namespace core = streamer::core;

namespace streamer::capi {

Result<core::Device> check_device(streamer_device device) {
  const core::Device given{device.kind, device.number};
  if (given == core::kHost) return given;
  if (core::find_gpu_kind(given.kind) != nullptr && given.number >= 0) return given;
  return Error(ErrorKind::invalid_argument,
               fmt::format("no such device: kind {} with number {}; start from "
                           "streamer_device_parse(), or see STREAMER_DEVICE_* in streamer.h",
                           device.kind, device.number));
}

}  // namespace streamer::capi

extern "C" {

streamer_status streamer_device_parse(const char* text, streamer_device* device_out,
                                      streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(text);
    STREAMER_REQUIRE(device_out);
    *device_out = to_c(TRY(core::parse_device(text)));
    return STREAMER_OK;
  });
}

const char* streamer_device_kind_name(int32_t kind) {
  if (kind == STREAMER_DEVICE_HOST) return "host";
  const core::GpuKind* const known = core::find_gpu_kind(kind);
  // Names are literals, so NUL-terminated.
  return known == nullptr ? "unknown" : known->name.data();
}

streamer_status streamer_device_copy_rate(streamer_device device, double* bytes_per_second_out,
                                          streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(bytes_per_second_out);
    const core::Device given = TRY(check_device(device));
    if (given.is_host())
      return Error(ErrorKind::invalid_argument,
                   "the rate is that of copies to a GPU, and the device is the host");
    core::GpuRuntime* const runtime = TRY(core::runtime_of(given));
    *bytes_per_second_out = TRY(core::measure_copy_rate(*runtime, given.number));
    return STREAMER_OK;
  });
}

uint64_t streamer_trim(void) {
  const std::uint64_t bytes = core::kept_segments_bytes() + core::left_arena_bytes();
  core::drop_kept_segments();
  core::drop_left_arena();
  return bytes;
}

}  // extern "C"
