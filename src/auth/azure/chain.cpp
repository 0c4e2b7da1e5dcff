// SPDX-License-Identifier: Apache-2.0
// The order of the sources of Azure tokens.
#include <fmt/format.h>

#include <array>

#include "auth/azure/context.hpp"
#include "auth/credential_files.hpp"
#include "base/log.hpp"
#include "base/operation.hpp"
#include "base/text.hpp"

namespace streamer::core::inline auth {

namespace {

struct AzureSource {
  std::string_view name;
  std::string_view sdk_name;  // as AZURE_TOKEN_CREDENTIALS says it
  bool is_for_production;     // "prod", else "dev"
  TokenAnswer (*fetch)(const AzureContext& context, std::string& why_not);
};

// As in azure-identity; docs/credentials.md lists the differences.
constexpr std::array<AzureSource, 6> kAzureSources = {{
    {"environment", "EnvironmentCredential", true, token_from_service_principal},
    {"workload identity", "WorkloadIdentityCredential", true, token_from_workload_identity},
    {"managed identity", "ManagedIdentityCredential", true, token_from_managed_identity},
    {"Azure CLI", "AzureCliCredential", false, token_from_azure_cli},
    {"Azure PowerShell", "AzurePowerShellCredential", false, token_from_azure_powershell},
    {"Azure Developer CLI", "AzureDeveloperCliCredential", false, token_from_azure_developer_cli},
}};

bool is_wanted(const AzureSource& source, std::string_view wanted) {
  if (wanted.empty()) return true;
  if (equal_ignoring_case(wanted, "prod")) return source.is_for_production;
  if (equal_ignoring_case(wanted, "dev")) return !source.is_for_production;
  return equal_ignoring_case(wanted, source.sdk_name);
}

Result<BearerToken> search(const AzureContext& context) {
  const std::string all = context.environment("AZURE_TOKEN_CREDENTIALS").value_or("");
  const std::string_view wanted = trim(all);
  std::string reasons;
  for (const AzureSource& source : kAzureSources) {
    if (!is_wanted(source, wanted)) continue;
    std::string why_not;
    auto found = TRY(source.fetch(context, why_not));
    if (found) {
      log_line(LogLevel::info, fmt::format("credentials come from {}", found->source));
      return *std::move(found);
    }
    // A missing answer may be due to the operation's own end: then the next source must not be
    // asked.
    TRY(still_wanted("looking for credentials"));
    reasons += fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", source.name, why_not);
  }
  if (reasons.empty()) {
    std::string names;
    for (const AzureSource& source : kAzureSources)
      names += fmt::format(", {}", source.sdk_name);
    return Error(ErrorKind::invalid_argument,
                 fmt::format("AZURE_TOKEN_CREDENTIALS is \"{}\"; it may be dev, prod{}",
                             wanted.substr(0, 60), names));
  }
  return Error(
      ErrorKind::permission_denied,
      fmt::format("no credentials were found ({}); set an account key, a SAS token or a "
                  "connection string, or azure_credentials=anonymous for a public container",
                  reasons));
}

}  // namespace

Result<BearerToken> find_azure_token(const AzureContext& context) {
  return keep_place(search(context));
}

}  // namespace streamer::core::inline auth
