// SPDX-License-Identifier: Apache-2.0
#pragma once
// Microsoft Entra tokens for Azure Storage, from the sources of DefaultAzureCredential.

#include <string>

#include "auth/bearer_token.hpp"

namespace streamer::core {

struct AzureContext : AuthContext {
  // Where the agent of Azure Arc puts its keys; no other file is sent to anybody.
  std::string arc_folder = "/var/opt/azcmagent/tokens/";
};

// All of them block.
TokenAnswer token_from_service_principal(const AzureContext& context, std::string& why_not);
TokenAnswer token_from_workload_identity(const AzureContext& context, std::string& why_not);
TokenAnswer token_from_managed_identity(const AzureContext& context, std::string& why_not);
TokenAnswer token_from_azure_cli(const AzureContext& context, std::string& why_not);

// The first source that is configured: environment (secret or certificate), workload identity,
// managed identity, Azure CLI; fewer if AZURE_TOKEN_CREDENTIALS says so. permission_denied if none
// is, naming each and what it lacks.
Result<BearerToken> find_azure_token(const AzureContext& context);

}  // namespace streamer::core
