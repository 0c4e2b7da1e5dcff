// SPDX-License-Identifier: Apache-2.0
#pragma once
// Azure Storage's signature by the account's key (authorize-with-shared-key, versions from
// 2015-02-21 on).

#include <string>

#include "base/result.hpp"
#include "base/secret.hpp"
#include "base/timestamp.hpp"
#include "http/request.hpp"

namespace streamer::core::inline auth {

struct AzureKey {
  std::string account;
  Secret key;  // the bytes, not their base64
};

// From what the portal shows. invalid_argument if the key is no base64.
Result<AzureKey> read_azure_key(std::string account, std::string_view base64);

// What is signed. For tests and for the error that shows it to nobody.
[[nodiscard]] std::string string_to_sign(const HttpRequest& request, std::string_view account);

// Adds x-ms-date and Authorization. Every other x-ms- header must be there already.
void sign_shared_key(HttpRequest& request, const AzureKey& key, SystemTime now);

}  // namespace streamer::core::inline auth
