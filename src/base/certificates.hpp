// SPDX-License-Identifier: Apache-2.0
#pragma once
// Certificates and the private keys that belong to them, over OpenSSL.

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/secret.hpp"

namespace streamer::core::inline base {

struct Certificate {
  Secret private_key;              // PEM, not encrypted
  std::string sha1;                // 20 bytes
  std::vector<std::string> chain;  // DER: the certificate itself, then those that vouch for it
};

// A certificate and its key from the content of a PEM file, in any order, or of a PKCS #12 file
// (PFX). An empty password is none. invalid_argument, without a byte of the content, that says what
// is missing: certificate, key, the password, or that the two do not belong together.
Result<Certificate> read_certificate(std::string_view content, const Secret& password);

}  // namespace streamer::core::inline base
