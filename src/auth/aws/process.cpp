// SPDX-License-Identifier: Apache-2.0
// credential_process: a program that prints credentials.
#include <fmt/format.h>

#include "auth/aws/context.hpp"
#include "auth/credential_program.hpp"

namespace streamer::core::inline auth {

Result<AwsCredentials> credentials_from_process(const std::string& command,
                                                std::chrono::milliseconds deadline) {
  Program program{.name = "credential_process", .words = {}, .variables = {}, .deadline = deadline};
  program.words = TRY(split_words(program.name, command));
  const Secret output = TRY(run_program(program));
  return read_json_credentials(output.reveal(),
                               {.object = "",
                                .id = "AccessKeyId",
                                .secret = "SecretAccessKey",
                                .token = "SessionToken",
                                .expiration = "Expiration",
                                .version = "Version"},
                               fmt::format("credential_process ({})", program.words[0]));
}

}  // namespace streamer::core::inline auth
