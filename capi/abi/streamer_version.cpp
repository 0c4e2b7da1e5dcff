// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <string_view>

#include "http/network_libraries.hpp"
#include "streamer.h"

namespace {

// Made without allocating, so that it cannot fail. STREAMER_BUILT_WITH_* are the build's options.
struct BuildText {
  BuildText() noexcept {
    const streamer::core::NetworkLibraries network = streamer::core::network_libraries();
    constexpr std::string_view kGpus = STREAMER_BUILT_WITH_GPUS;
    std::snprintf(text, sizeof text, "curl: %s\nTLS: %s\nio_uring: %s\nGPU: %s\nMPI: %s",
                  network.curl, network.tls, STREAMER_BUILT_WITH_IO_URING != 0 ? "yes" : "no",
                  kGpus.empty() ? "no" : kGpus.data(),
                  STREAMER_BUILT_WITH_MPI != 0 ? "yes, in libstreamer_mpi.so" : "no");
  }
  char text[512];
};

}  // namespace

extern "C" {

static_assert(STREAMER_VERSION_NUMBER == STREAMER_VERSION_MAJOR * 1000000 +
                                             STREAMER_VERSION_MINOR * 1000 +
                                             STREAMER_VERSION_PATCH);

uint32_t streamer_version(void) {
  return STREAMER_VERSION_NUMBER;
}

#define STREAMER_TEXT_OF(x) #x
#define STREAMER_TEXT(x) STREAMER_TEXT_OF(x)

const char* streamer_version_string(void) {
  return STREAMER_TEXT(STREAMER_VERSION_MAJOR) "." STREAMER_TEXT(
      STREAMER_VERSION_MINOR) "." STREAMER_TEXT(STREAMER_VERSION_PATCH);
}

const char* streamer_build_info(void) {
  static const BuildText build;
  return build.text;
}

}  // extern "C"
