// SPDX-License-Identifier: Apache-2.0
#pragma once
// The signature of tokens.

#include <string>
#include <string_view>

#include "base/result.hpp"

namespace streamer::core::inline base {

// RS256 (RFC 7518 3.3) by the private RSA key in a PEM text. invalid_argument, without a byte of
// the text, if there is none or it needs a pass phrase.
Result<std::string> sign_rs256(std::string_view pem, std::string_view text);

}  // namespace streamer::core::inline base
