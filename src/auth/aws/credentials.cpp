// SPDX-License-Identifier: Apache-2.0
#include "auth/aws/credentials.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "http/request.hpp"

namespace streamer::core::inline auth {

Result<void> check_credentials(const AwsCredentials& credentials) {
  TRY(check_header_value("the access key id", credentials.access_key_id));
  TRY(check_header_value("the secret access key", credentials.secret_access_key.reveal()));
  TRY(check_header_value("the session token", credentials.session_token.reveal()));
  return {};
}

std::string describe(const AwsCredentials& credentials) {
  const std::string& id = credentials.access_key_id;
  std::string text = fmt::format("from {}, access key id ends in {}", credentials.source,
                                 id.substr(id.size() - std::min<std::size_t>(4, id.size())));
  if (!credentials.session_token.empty()) text += ", with a session token";
  if (credentials.expires) text += ", until " + format_iso(*credentials.expires);
  return text;
}

}  // namespace streamer::core::inline auth
