// SPDX-License-Identifier: Apache-2.0
#pragma once
// Settings of S3.

#include "base/setting.hpp"
#include "storage/s3/endpoint.hpp"

namespace streamer::core::setting {

inline constexpr Setting kAwsProfile{
    RowOf<Scope::store>{.name = "aws_profile",
                        .meaning = "The profile in ~/.aws/config and ~/.aws/credentials. auto is "
                                   "AWS_DEFAULT_PROFILE, AWS_PROFILE, or else default. If it is "
                                   "set here, credentials in the environment are ignored."},
    Text("a profile's name")};

inline constexpr Setting kS3AccessKeyId{
    RowOf<Scope::store>{
        .name = "s3_access_key_id",
        .meaning =
            "Together with s3_secret_access_key: credentials to use instead of looking for any.",
        .is_credential = true},
    Text("a key id")};

inline constexpr Setting kS3Addressing{
    RowOf<Scope::store>{.name = "s3_addressing",
                        .also = "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING",
                        .meaning = "Whether the bucket is in the path or in the host name. auto is "
                                   "virtual with AWS, and path with a custom endpoint."},
    Choice<S3Addressing, 3>({{"auto", S3Addressing::automatic},
                             {"path", S3Addressing::path, "0"},
                             {"virtual", S3Addressing::virtual_host, "1"}})};

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

inline constexpr Setting kS3RequesterPays{
    RowOf<Scope::store>{.name = "s3_requester_pays",
                        .default_text = "no",
                        .meaning = "Whether the requester agrees to be charged."},
    YesOrNo()};

inline constexpr Setting kS3SecretAccessKey{
    RowOf<Scope::store>{.name = "s3_secret_access_key",
                        .meaning = "See s3_access_key_id. Never logged."},
    SecretText("a key")};

inline constexpr Setting kS3SessionToken{
    RowOf<Scope::store>{
        .name = "s3_session_token",
        .meaning = "The session token that belongs to s3_access_key_id, if any. Never logged."},
    SecretText("a token")};

inline constexpr Setting kS3SseCustomerKey{
    RowOf<Scope::store>{
        .name = "s3_sse_customer_key",
        .meaning = "The key of objects stored with a customer-provided key (SSE-C). Never logged."},
    SecretText("a key: the base64 of 32 bytes")};

inline constexpr Setting kS3Unsigned{
    RowOf<Scope::store>{.name = "s3_unsigned",
                        .also = "RUNAI_STREAMER_S3_UNSIGNED",
                        .default_text = "no",
                        .meaning = "Whether requests go without credentials, for public buckets."},
    YesOrNo()};

inline constexpr Setting kS3VersionId{
    RowOf<Scope::store>{
        .name = "s3_version_id",
        .meaning = "Which version of an object to read in a bucket that keeps several."},
    Text("a version")};

}  // namespace streamer::core::setting

namespace streamer::core::inline storage {

inline constexpr const SettingRow* kS3Settings[] = {&setting::kAwsProfile,
                                                    &setting::kS3AccessKeyId,
                                                    &setting::kS3Addressing,
                                                    &setting::kS3Endpoint,
                                                    &setting::kS3ExpectedBucketOwner,
                                                    &setting::kS3Region,
                                                    &setting::kS3RequesterPays,
                                                    &setting::kS3SecretAccessKey,
                                                    &setting::kS3SessionToken,
                                                    &setting::kS3SseCustomerKey,
                                                    &setting::kS3Unsigned,
                                                    &setting::kS3VersionId};

}  // namespace streamer::core::inline storage
