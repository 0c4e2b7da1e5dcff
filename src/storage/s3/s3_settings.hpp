// SPDX-License-Identifier: Apache-2.0
#pragma once
// Settings of S3.

#include "base/setting.hpp"
#include "storage/s3/endpoint.hpp"

namespace streamer::core::inline storage {

enum class S3CredentialKind { anonymous, keys, session, profile };

}  // namespace streamer::core::inline storage

namespace streamer::core::setting {

inline constexpr Setting kS3Addressing{
    RowOf<Scope::store>{.name = "s3_addressing",
                        .also = "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING",
                        .meaning = "Whether the bucket is in the path or in the host name. auto is "
                                   "virtual with AWS, and path with a custom endpoint."},
    Choice<S3Addressing, 3>({{"auto", S3Addressing::automatic},
                             {"path", S3Addressing::path, "0"},
                             {"virtual", S3Addressing::virtual_host, "1"}})};

inline constexpr Setting kS3Credentials{
    RowOf<Scope::store>{
        .name = "s3_credentials",
        .meaning =
            "Who reads from S3. auto looks for credentials as the AWS tools do; anonymous sends "
            "requests unsigned, for public buckets; session keys are temporary ones with their "
            "token; a profile is one of ~/.aws/config and ~/.aws/credentials, whose region and "
            "endpoint count too (AWS_PROFILE names one in the environment). In ID and SECRET %3A "
            "is "
            "a colon. Secrets are never logged.",
        .is_credential = true},
    Credentials<S3CredentialKind, 4>(
        {{{"anonymous"}, S3CredentialKind::anonymous},
         {{"keys", "ID", "SECRET"}, S3CredentialKind::keys},
         {{"session", "ID", "SECRET", "TOKEN"}, S3CredentialKind::session},
         {{"profile", "NAME"}, S3CredentialKind::profile}})};

inline constexpr Setting kS3Endpoint{
    RowOf<Scope::store>{
        .name = "s3_endpoint",
        .meaning =
            "The S3 endpoint. auto is RUNAI_STREAMER_S3_ENDPOINT, AWS_ENDPOINT_URL_S3, "
            "AWS_ENDPOINT_URL, the profile's endpoint_url, or else AWS in the bucket's region."},
    Text("a URL")};

inline constexpr Setting kS3ExpectedBucketOwner{
    RowOf<Scope::store>{.name = "s3_expected_bucket_owner",
                        .meaning = "Requests fail if the bucket is not this account's."},
    Text("an account's number")};

inline constexpr Setting kS3Region{
    RowOf<Scope::store>{
        .name = "s3_region",
        .meaning = "The region of the bucket. auto is AWS_REGION, AWS_DEFAULT_REGION, the "
                   "profile's region, or else us-east-1; if that is wrong, AWS names the right "
                   "one, which is then used."},
    Text("a region")};

inline constexpr Setting kS3SseCustomerKey{
    RowOf<Scope::store>{
        .name = "s3_sse_customer_key",
        .meaning = "The key of objects stored with a customer-provided key (SSE-C). Never logged."},
    SecretText("a key: the base64 of 32 bytes")};

inline constexpr Setting kS3VersionId{
    RowOf<Scope::store>{
        .name = "s3_version_id",
        .meaning = "Which version of an object to read in a bucket that keeps several."},
    Text("a version")};

}  // namespace streamer::core::setting

namespace streamer::core::inline storage {

inline constexpr const SettingRow* kS3Settings[] = {
    &setting::kS3Addressing, &setting::kS3Credentials,
    &setting::kS3Endpoint,   &setting::kS3ExpectedBucketOwner,
    &setting::kS3Region,     &setting::kS3SseCustomerKey,
    &setting::kS3VersionId};

}  // namespace streamer::core::inline storage
