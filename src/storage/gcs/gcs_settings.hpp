// SPDX-License-Identifier: Apache-2.0
#pragma once
// Settings of Google Cloud Storage.

#include "base/setting.hpp"

namespace streamer::core::setting {

inline constexpr Setting kGcsAccessKeyId{
    RowOf<Scope::store>{
        .name = "gcs_access_key_id",
        .meaning = "Together with gcs_secret_access_key: an HMAC key, instead of a token.",
        .is_credential = true},
    Text("a key id")};

inline constexpr Setting kGcsBearerToken{
    RowOf<Scope::store>{
        .name = "gcs_bearer_token",
        .meaning = "An access token to use instead of looking for one. Never logged.",
        .is_credential = true},
    SecretText("a token")};

inline constexpr Setting kGcsCredentialFile{
    RowOf<Scope::store>{
        .name = "gcs_credential_file",
        .also = "RUNAI_STREAMER_GCS_CREDENTIAL_FILE",
        .meaning =
            "A file of Google credentials, of any type. auto is GOOGLE_APPLICATION_CREDENTIALS, "
            "gcloud's own file, or else the metadata server.",
        .is_credential = true},
    Text("a path")};

inline constexpr Setting kGcsEndpoint{
    RowOf<Scope::store>{
        .name = "gcs_endpoint",
        .meaning =
            "The endpoint of Google Cloud Storage. auto is CLOUD_STORAGE_EMULATOR_ENDPOINT or "
            "STORAGE_EMULATOR_HOST, which are used without credentials, or else Google's own."},
    Text("a URL")};

inline constexpr Setting kGcsSecretAccessKey{
    RowOf<Scope::store>{.name = "gcs_secret_access_key",
                        .meaning = "See gcs_access_key_id. Never logged."},
    SecretText("a key")};

inline constexpr Setting kGcsUnsigned{
    RowOf<Scope::store>{.name = "gcs_unsigned",
                        .also = "RUNAI_STREAMER_GCS_USE_ANONYMOUS_CREDENTIALS",
                        .default_text = "no",
                        .meaning = "Whether requests go without credentials, for public buckets."},
    YesOrNo()};

inline constexpr Setting kGcsUserProject{
    RowOf<Scope::store>{.name = "gcs_user_project",
                        .meaning = "The project to charge, for requester-pays buckets. auto is the "
                                   "credentials' quota project."},
    Text("a project")};

}  // namespace streamer::core::setting

namespace streamer::core::inline storage {

inline constexpr const SettingRow* kGcsSettings[] = {
    &setting::kGcsAccessKeyId, &setting::kGcsBearerToken,     &setting::kGcsCredentialFile,
    &setting::kGcsEndpoint,    &setting::kGcsSecretAccessKey, &setting::kGcsUnsigned,
    &setting::kGcsUserProject};

}  // namespace streamer::core::inline storage
