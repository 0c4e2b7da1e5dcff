// SPDX-License-Identifier: Apache-2.0
#include "auth/aws_credentials.hpp"

#include "http/request.hpp"

namespace streamer::core {

Result<void> check_credentials(const AwsCredentials& credentials) {
  TRY(check_header_value("the access key id", credentials.access_key_id));
  TRY(check_header_value("the secret access key", credentials.secret_access_key.reveal()));
  TRY(check_header_value("the session token", credentials.session_token.reveal()));
  return {};
}

}  // namespace streamer::core
