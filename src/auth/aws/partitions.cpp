// SPDX-License-Identifier: Apache-2.0
#include "auth/aws/partitions.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace streamer::core::inline auth {

namespace {

// Source: botocore's partitions.json and endpoints.json. "us-iso-" and "us-isob-" do not begin with
// each other.
constexpr std::array<AwsPartition, 8> kPartitions = {{
    {"aws-cn", "cn-", "cn-northwest-1", "amazonaws.com.cn", "api.amazonwebservices.com.cn", false},
    {"aws-us-gov", "us-gov-", "us-gov-west-1", "amazonaws.com", "api.aws", true, true},
    {"aws-iso", "us-iso-", "us-iso-east-1", "c2s.ic.gov", "api.aws.ic.gov"},
    {"aws-iso-b", "us-isob-", "us-isob-east-1", "sc2s.sgov.gov", "api.aws.scloud"},
    {"aws-iso-e", "eu-isoe-", "eu-isoe-west-1", "cloud.adc-e.uk", ""},
    {"aws-iso-f", "us-isof-", "us-isof-south-1", "csp.hci.ic.gov", ""},
    {"aws-eusc", "eusc-", "eusc-de-east-1", "amazonaws.eu", "api.amazonwebservices.eu"},
    {"aws", "", "us-east-1", "amazonaws.com", "api.aws"},
}};

Error no_such_endpoint(const AwsPartition& partition, std::string_view what,
                       std::string_view setting) {
  return Error(ErrorKind::unsupported, fmt::format("the partition {} has no {} endpoints; unset {}",
                                                   partition.name, what, setting));
}

Error no_dual_stack(const AwsPartition& partition) {
  return no_such_endpoint(partition, "dual-stack",
                          "AWS_USE_DUALSTACK_ENDPOINT or the profile's use_dualstack_endpoint");
}

}  // namespace

std::span<const AwsPartition> aws_partitions() noexcept {
  return kPartitions;
}

const AwsPartition& aws_partition_of(std::string_view region) noexcept {
  for (const AwsPartition& partition : kPartitions) {
    if (region.starts_with(partition.region_prefix)) return partition;
  }
  return kPartitions.back();
}

bool is_region(std::string_view text) noexcept {
  if (text.empty() || text.size() > 63 || text.front() == '-' || text.back() == '-') return false;
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  if (std::all_of(text.begin(), text.end(), is_digit)) return false;
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
  });
}

AwsRegion read_aws_region(std::string_view text) {
  AwsRegion region;
  constexpr std::string_view kBefore = "fips-";
  constexpr std::string_view kBehind = "-fips";
  if (text.starts_with(kBefore)) {
    region.wants_fips = true;
    text.remove_prefix(kBefore.size());
  } else if (text.ends_with(kBehind)) {
    region.wants_fips = true;
    text.remove_suffix(kBehind.size());
  }
  region.name = text;
  for (const AwsPartition& partition : kPartitions) {
    if (text != fmt::format("{}-global", partition.name)) continue;
    region.name = partition.global_region;
    region.is_global = true;
  }
  return region;
}

Result<std::string> aws_service_host(std::string_view service, std::string_view region,
                                     AwsVariant variant) {
  const AwsPartition& partition = aws_partition_of(region);
  if (variant.dual_stack && partition.dual_stack_suffix.empty()) return no_dual_stack(partition);
  const bool is_named = variant.fips && (variant.dual_stack || !partition.is_fips_anyway);
  return fmt::format("{}{}.{}.{}", service, is_named ? "-fips" : "", region,
                     variant.dual_stack ? partition.dual_stack_suffix : partition.suffix);
}

Result<std::string> aws_s3_host(const AwsRegion& region, AwsVariant variant,
                                std::string_view service, std::string_view zone) {
  const AwsPartition& partition = aws_partition_of(region.name);
  if (variant.fips && !partition.has_fips_s3) {
    return no_such_endpoint(partition, "FIPS",
                            "AWS_USE_FIPS_ENDPOINT or the profile's use_fips_endpoint");
  }
  if (variant.dual_stack && partition.dual_stack_suffix.empty()) return no_dual_stack(partition);
  const bool is_plain = !variant.fips && !variant.dual_stack;
  if (region.is_global && is_plain && partition.name == "aws" && service == "s3")
    return fmt::format("s3.{}", partition.suffix);
  return fmt::format("{}{}{}{}{}.{}.{}", service, variant.fips ? "-fips" : "",
                     zone.empty() ? "" : "-", zone, variant.dual_stack ? ".dualstack" : "",
                     region.name, partition.suffix);
}

std::string_view before_aws_suffix(std::string_view host) noexcept {
  for (const AwsPartition& partition : kPartitions) {
    const std::size_t size = partition.suffix.size() + 1;
    if (host.size() <= size || !host.ends_with(partition.suffix)) continue;
    if (host[host.size() - size] == '.') return host.substr(0, host.size() - size);
  }
  return {};
}

}  // namespace streamer::core::inline auth
