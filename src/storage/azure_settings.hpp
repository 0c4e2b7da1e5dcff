// SPDX-License-Identifier: Apache-2.0
#pragma once
// Settings of Azure Blob Storage.

#include "base/setting.hpp"

namespace streamer::core::inline storage {

enum class AzureCredentialKind { anonymous, key, sas, token, connection_string };

}  // namespace streamer::core::inline storage

namespace streamer::core::setting {

inline constexpr Setting kAzureAccountName{
    RowOf<Scope::store>{.name = "azure_account_name",
                        .also = "AZURE_STORAGE_ACCOUNT_NAME",
                        .meaning = "The storage account for az:// URIs, which do not name one."},
    Text("a name")};

inline constexpr Setting kAzureCredentials{
    RowOf<Scope::store>{
        .name = "azure_credentials",
        .meaning =
            "Who reads from Azure. auto is what the AZURE_STORAGE_ variables say, or else "
            "Microsoft Entra as in DefaultAzureCredential; anonymous sends no credentials, for "
            "public containers; a key is the account's; a SAS token is for all URIs; a token is "
            "one of Microsoft Entra; a connection string, as the portal shows it, names account "
            "and "
            "endpoint too. Secrets are never logged.",
        .is_credential = true},
    Credentials<AzureCredentialKind, 5>(
        {{{"anonymous"}, AzureCredentialKind::anonymous},
         {{"key", "", "BASE64"}, AzureCredentialKind::key},
         {{"sas", "", "QUERY"}, AzureCredentialKind::sas},
         {{"token", "", "TOKEN"}, AzureCredentialKind::token},
         {{"connection_string", "", "TEXT"}, AzureCredentialKind::connection_string}})};

inline constexpr Setting kAzureEndpoint{
    RowOf<Scope::store>{
        .name = "azure_endpoint",
        .meaning = "The account's endpoint; for an emulator, with the account's name as the path. "
                   "May end in a SAS token. auto is that of a connection string in "
                   "azure_credentials, AZURE_STORAGE_ENDPOINT, that of "
                   "AZURE_STORAGE_CONNECTION_STRING, or else https://ACCOUNT.blob.core.windows.net "
                   "(with another domain in AZURE_STORAGE_ENDPOINT_SUFFIX)."},
    Text("a URL")};

}  // namespace streamer::core::setting

namespace streamer::core::inline storage {

using ChosenAzureCredentials = decltype(setting::kAzureCredentials)::Value;

inline constexpr const SettingRow* kAzureSettings[] = {
    &setting::kAzureAccountName, &setting::kAzureCredentials, &setting::kAzureEndpoint};

}  // namespace streamer::core::inline storage
