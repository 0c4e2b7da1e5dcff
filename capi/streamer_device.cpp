// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "boundary.hpp"
#include "device/copy_rate.hpp"
#include "device/kept_segments.hpp"

using namespace streamer::capi;
namespace core = streamer::core;

namespace streamer::capi {

Result<std::int32_t> check_device(std::int32_t device, std::int32_t number) {
  if (device == STREAMER_DEVICE_HOST && number == 0) return core::kHost;
  if (device == STREAMER_DEVICE_CUDA && number >= 0) return number;
  return Error(ErrorKind::invalid_argument,
               fmt::format("there is no device {} with number {}; it may be STREAMER_DEVICE_HOST "
                           "with number 0, or STREAMER_DEVICE_CUDA with a GPU's number",
                           device, number));
}

}  // namespace streamer::capi

extern "C" {

streamer_status streamer_device_copy_rate(int32_t device, int32_t device_number,
                                          double* bytes_per_second_out,
                                          streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(bytes_per_second_out);
    const std::int32_t number = TRY(check_device(device, device_number));
    if (number == core::kHost)
      return Error(ErrorKind::invalid_argument,
                   "the rate is that of copies to a GPU; give STREAMER_DEVICE_CUDA and its number");
    core::CudaRuntime* const cuda = TRY(core::cuda_runtime());
    *bytes_per_second_out = TRY(core::measure_copy_rate(*cuda, number));
    return STREAMER_OK;
  });
}

uint64_t streamer_trim(void) {
  const std::uint64_t bytes = core::kept_segments_bytes();
  core::drop_kept_segments();
  return bytes;
}

}  // extern "C"
