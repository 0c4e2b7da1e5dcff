// SPDX-License-Identifier: Apache-2.0
// The login of Connect-AzAccount, through PowerShell and its module Az.Accounts.
#include "auth/azure/context.hpp"

namespace streamer::core::inline auth {

namespace {

// Newer versions of the module give the token as a SecureString, older ones as a text.
constexpr const char* kScript =
    "$ErrorActionPreference = 'Stop'; "
    "$given = Get-AzAccessToken -ResourceUrl 'https://storage.azure.com' -WarningAction Ignore; "
    "$text = $given.Token; "
    "if ($text -is [securestring]) { "
    "$text = [System.Net.NetworkCredential]::new('', $text).Password }; "
    "@{ token = $text; expiresOn = $given.ExpiresOn.ToUnixTimeSeconds() } | ConvertTo-Json "
    "-Compress";

}  // namespace

TokenAnswer token_from_azure_powershell(const AzureContext&, std::string& why_not) {
  return token_from_tool({.name = "Azure PowerShell",
                          .words = {"pwsh", "-NoProfile", "-NonInteractive", "-Command", kScript},
                          .token_member = "token",
                          .time_member = "expiresOn",
                          .read_time = parse_iso,
                          .log_in = "pwsh -Command Connect-AzAccount"},
                         why_not);
}

}  // namespace streamer::core::inline auth
