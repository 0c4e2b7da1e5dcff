// SPDX-License-Identifier: Apache-2.0
#pragma once
// Microsoft Entra tokens for Azure Storage, from the sources of DefaultAzureCredential.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "auth/bearer_token.hpp"

namespace streamer::core::inline auth {

struct AzureContext : AuthContext {
  // Where the agent of Azure Arc puts its keys; no other file is sent to anybody.
  std::string arc_folder = "/var/opt/azcmagent/tokens/";
};

// All of them block.
TokenAnswer token_from_service_principal(const AzureContext& context, std::string& why_not);
TokenAnswer token_from_workload_identity(const AzureContext& context, std::string& why_not);
TokenAnswer token_from_managed_identity(const AzureContext& context, std::string& why_not);
TokenAnswer token_from_azure_cli(const AzureContext& context, std::string& why_not);
TokenAnswer token_from_azure_powershell(const AzureContext& context, std::string& why_not);
TokenAnswer token_from_azure_developer_cli(const AzureContext& context, std::string& why_not);

// The first source that is configured, in the order of DefaultAzureCredential: environment (secret
// or certificate), workload identity, managed identity, Azure CLI, Azure PowerShell, Azure
// Developer CLI; fewer if AZURE_TOKEN_CREDENTIALS says so. permission_denied if none is, naming
// each and what it lacks.
Result<BearerToken> find_azure_token(const AzureContext& context);

// ---- What the sources share ----

// A program that prints JSON with a token and its end: a time that read_time reads, or seconds
// since 1970.
struct AzureTool {
  std::string_view name;
  std::vector<std::string> words;
  std::string_view token_member;
  std::string_view time_member;
  std::optional<SystemTime> (*read_time)(std::string_view text);
  std::string_view log_in;  // the command that helps if it does not work
};
// A tool that is not there, or does not work, is one that is not configured.
TokenAnswer token_from_tool(const AzureTool& tool, std::string& why_not);

}  // namespace streamer::core::inline auth
