// SPDX-License-Identifier: Apache-2.0
#include "streamer.h"

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

}  // extern "C"
