// SPDX-License-Identifier: Apache-2.0
// The login of "azd auth login", through the tool itself.
#include "auth/azure/context.hpp"

namespace streamer::core::inline auth {

TokenAnswer token_from_azure_developer_cli(const AzureContext&, std::string& why_not) {
  return token_from_tool({.name = "Azure Developer CLI",
                          .words = {"azd", "auth", "token", "--output", "json", "--no-prompt",
                                    "--scope", "https://storage.azure.com/.default"},
                          .token_member = "token",
                          .time_member = "expiresOn",
                          .read_time = parse_iso,
                          .log_in = "azd auth login"},
                         why_not);
}

}  // namespace streamer::core::inline auth
