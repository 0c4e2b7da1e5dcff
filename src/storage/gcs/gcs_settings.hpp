// SPDX-License-Identifier: Apache-2.0
#pragma once
// Settings of Google Cloud Storage.

#include "base/setting.hpp"

namespace streamer::core::inline storage {

enum class GcsCredentialKind { anonymous, file, token, hmac };

}  // namespace streamer::core::inline storage

namespace streamer::core::setting {

inline constexpr Setting kGcsCredentials{
    RowOf<Scope::store>{
        .name = "gcs_credentials",
        .meaning =
            "Who reads from Google Cloud Storage. auto is RUNAI_STREAMER_GCS_CREDENTIAL_FILE, "
            "GOOGLE_APPLICATION_CREDENTIALS, gcloud's own file, or else the metadata server; "
            "anonymous sends no credentials, for public buckets; a file may be of any type; a "
            "token is an access token; hmac is an HMAC key. Secrets are never logged.",
        .is_credential = true},
    Credentials<GcsCredentialKind, 4>({{{"anonymous"}, GcsCredentialKind::anonymous},
                                       {{"file", "PATH"}, GcsCredentialKind::file},
                                       {{"token", "", "TOKEN"}, GcsCredentialKind::token},
                                       {{"hmac", "ID", "SECRET"}, GcsCredentialKind::hmac}})};

inline constexpr Setting kGcsEndpoint{
    RowOf<Scope::store>{
        .name = "gcs_endpoint",
        .meaning =
            "The endpoint of Google Cloud Storage. auto is CLOUD_STORAGE_EMULATOR_ENDPOINT or "
            "STORAGE_EMULATOR_HOST, which are used without credentials unless gcs_credentials or a "
            "callback gives some, or else Google's own."},
    Text("a URL")};

}  // namespace streamer::core::setting

namespace streamer::core::inline storage {

using ChosenGcsCredentials = decltype(setting::kGcsCredentials)::Value::value_type;

inline constexpr const SettingRow* kGcsSettings[] = {&setting::kGcsCredentials,
                                                     &setting::kGcsEndpoint};

}  // namespace streamer::core::inline storage
