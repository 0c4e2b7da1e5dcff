// SPDX-License-Identifier: Apache-2.0
#pragma once
// Errors from OpenSSL.

#include <openssl/err.h>

#include <string>
#include <string_view>

#include "base/error.hpp"
#include "base/openssl.hpp"

namespace streamer::core::inline base {

// The next user of OpenSSL must not find the library's errors in the thread's queue.
inline Error openssl_refusal(std::string_view what) {
  ERR_clear_error();
  return Error(ErrorKind::invalid_argument, std::string(what));
}

}  // namespace streamer::core::inline base
