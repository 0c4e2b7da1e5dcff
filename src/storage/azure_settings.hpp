// SPDX-License-Identifier: Apache-2.0
#pragma once
// Settings of Azure Blob Storage.

#include "base/setting.hpp"

namespace streamer::core::setting {

inline constexpr Setting kAzureAccountKey{
    RowOf<Scope::store>{.name = "azure_account_key",
                        .also = "AZURE_STORAGE_ACCOUNT_KEY",
                        .meaning = "The key of the storage account. Never logged.",
                        .is_credential = true},
    SecretText("a key: base64")};

inline constexpr Setting kAzureAccountName{
    RowOf<Scope::store>{.name = "azure_account_name",
                        .also = "AZURE_STORAGE_ACCOUNT_NAME",
                        .meaning = "The storage account for az:// URIs, which do not name one."},
    Text("a name")};

inline constexpr Setting kAzureBearerToken{
    RowOf<Scope::store>{
        .name = "azure_bearer_token",
        .meaning = "A Microsoft Entra token to use instead of looking for one. Never logged.",
        .is_credential = true},
    SecretText("a token")};

inline constexpr Setting kAzureConnectionString{
    RowOf<Scope::store>{.name = "azure_connection_string",
                        .also = "AZURE_STORAGE_CONNECTION_STRING",
                        .meaning = "Account, endpoint and key or SAS token in one string, as the "
                                   "portal shows it. Never logged.",
                        .is_credential = true},
    SecretText("a connection string")};

inline constexpr Setting kAzureEndpoint{
    RowOf<Scope::store>{
        .name = "azure_endpoint",
        .meaning = "The account's endpoint; for an emulator, with the account's name as the path. "
                   "May end in a SAS token. auto is AZURE_STORAGE_ENDPOINT, the connection "
                   "string's, or else https://ACCOUNT.blob.SUFFIX."},
    Text("a URL")};

inline constexpr Setting kAzureEndpointSuffix{
    RowOf<Scope::store>{.name = "azure_endpoint_suffix",
                        .also = "AZURE_STORAGE_ENDPOINT_SUFFIX",
                        .meaning = "The cloud that the account is in. auto is the connection "
                                   "string's, or else core.windows.net."},
    Text("a domain")};

inline constexpr Setting kAzureSasToken{
    RowOf<Scope::store>{.name = "azure_sas_token",
                        .also = "AZURE_STORAGE_SAS_TOKEN",
                        .meaning = "A shared access signature for all URIs. Never logged.",
                        .is_credential = true},
    SecretText("a query")};

inline constexpr Setting kAzureUnsigned{
    RowOf<Scope::store>{
        .name = "azure_unsigned",
        .default_text = "no",
        .meaning = "Whether requests go without credentials, for public containers."},
    YesOrNo()};

}  // namespace streamer::core::setting

namespace streamer::core::inline storage {

inline constexpr const SettingRow* kAzureSettings[] = {
    &setting::kAzureAccountKey,       &setting::kAzureAccountName, &setting::kAzureBearerToken,
    &setting::kAzureConnectionString, &setting::kAzureEndpoint,    &setting::kAzureEndpointSuffix,
    &setting::kAzureSasToken,         &setting::kAzureUnsigned};

}  // namespace streamer::core::inline storage
