// SPDX-License-Identifier: Apache-2.0
#pragma once
// What OpenSSL does not take.

#include <openssl/err.h>

#include <string>
#include <string_view>

#include "base/error.hpp"
#include "base/openssl.hpp"

namespace streamer::core {

// Nothing of ours may be found in the thread's queue by the next one who uses OpenSSL.
inline Error openssl_refusal(std::string_view what) {
  ERR_clear_error();
  return Error(ErrorKind::invalid_argument, std::string(what));
}

}  // namespace streamer::core
