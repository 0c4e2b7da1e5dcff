// SPDX-License-Identifier: Apache-2.0
#pragma once
// AWS' partitions: which regions belong together, and under which domains their services answer.
// Pure. The one table for S3, STS and SSO alike.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace streamer::core::inline auth {

struct AwsPartition {
  std::string_view name;               // "aws-cn"
  std::string_view region_prefix;      // "cn-"; empty: of every region that is no other's
  std::string_view global_region;      // what the pseudo-region "aws-cn-global" stands for
  std::string_view suffix;             // "amazonaws.com.cn"
  std::string_view dual_stack_suffix;  // of all services but S3; empty: no dual-stack at all
  bool has_fips_s3 = true;
  bool is_fips_anyway = false;  // GovCloud: STS and SSO have no other endpoints for FIPS
};

[[nodiscard]] std::span<const AwsPartition> aws_partitions() noexcept;
// Never fails: a region that no other partition claims is one of "aws".
[[nodiscard]] const AwsPartition& aws_partition_of(std::string_view region) noexcept;

// Whether text can be a region, and stand in a host's name.
[[nodiscard]] bool is_region(std::string_view text) noexcept;

// A region as it may be written, and what it stands for: "fips-us-east-1" and "us-east-1-fips" are
// us-east-1 with FIPS; "aws-global" is us-east-1, asked at hosts without a region where there are
// such.
struct AwsRegion {
  std::string name;
  bool is_global = false;
  bool wants_fips = false;
};
[[nodiscard]] AwsRegion read_aws_region(std::string_view text);

struct AwsVariant {
  bool fips = false;
  bool dual_stack = false;
};

// "sts-fips.eu-west-1.api.aws". service is what stands in front of the region: "sts", "portal.sso",
// "oidc". unsupported if the partition has no such endpoints.
Result<std::string> aws_service_host(std::string_view service, std::string_view region,
                                     AwsVariant variant);
// "s3-fips.dualstack.eu-west-1.amazonaws.com"; "s3.amazonaws.com" for aws-global. service: "s3",
// "s3-accesspoint" or "s3express"; zone: of the last, "use1-az4".
Result<std::string> aws_s3_host(const AwsRegion& region, AwsVariant variant,
                                std::string_view service = "s3", std::string_view zone = "");

// What stands before the domain of one of the partitions: "s3.eu-west-1" of
// "s3.eu-west-1.amazonaws.com"; empty for hosts of others.
[[nodiscard]] std::string_view before_aws_suffix(std::string_view host) noexcept;

}  // namespace streamer::core::inline auth
