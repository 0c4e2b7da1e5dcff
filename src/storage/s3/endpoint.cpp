// SPDX-License-Identifier: Apache-2.0
#include "storage/s3/endpoint.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "auth/aws/partitions.hpp"
#include "base/text.hpp"
#include "storage/s3/known_stores.hpp"

namespace streamer::core::inline storage {

namespace {

bool is_lower_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

// Whether the bucket's name can be the first part of a host name. A dot would need a wildcard
// certificate for two levels, which does not exist.
bool fits_host(std::string_view bucket, bool is_tls) {
  if (bucket.size() < 3 || bucket.size() > 63) return false;
  if (!is_lower_or_digit(bucket.front()) || !is_lower_or_digit(bucket.back())) return false;
  return std::all_of(bucket.begin(), bucket.end(), [&](char c) {
    return is_lower_or_digit(c) || c == '-' || (c == '.' && !is_tls);
  });
}

// Stores that refuse path style.
bool wants_virtual_host(std::string_view host) {
  const KnownStore* const store = known_store_at(host);
  return store != nullptr && store->wants_virtual_host;
}

Result<std::string> aws_host(const S3EndpointRules& rules, const S3Bucket& bucket,
                             std::string_view region_text) {
  AwsRegion region = read_aws_region(region_text);
  const AwsVariant variant{.fips = rules.uses_fips || region.wants_fips,
                           .dual_stack = rules.uses_dual_stack};
  if (rules.uses_acceleration && bucket.kind != S3Bucket::Kind::general) {
    return Error(ErrorKind::invalid_argument,
                 "access points and directory buckets are not accelerated: unset the profile's "
                 "use_accelerate_endpoint");
  }
  if (bucket.kind == S3Bucket::Kind::access_point)
    return aws_s3_host(region, variant, "s3-accesspoint");
  if (bucket.kind == S3Bucket::Kind::directory)
    return aws_s3_host(region, variant, "s3express", bucket.zone);
  if (!rules.uses_acceleration) return aws_s3_host(region, variant);
  if (variant.fips) {
    return Error(
        ErrorKind::invalid_argument,
        "accelerated buckets have no FIPS endpoints: unset use_accelerate_endpoint or FIPS");
  }
  const AwsPartition& partition = aws_partition_of(region.name);
  if (partition.suffix != "amazonaws.com") {
    return Error(ErrorKind::unsupported,
                 fmt::format("the partition {} has no accelerated buckets: unset the profile's "
                             "use_accelerate_endpoint",
                             partition.name));
  }
  return std::string(variant.dual_stack ? "s3-accelerate.dualstack.amazonaws.com"
                                        : "s3-accelerate.amazonaws.com");
}

}  // namespace

Result<S3Target> s3_target(const S3EndpointRules& rules, std::string_view bucket,
                           std::string_view region) {
  const S3Bucket kind = TRY(read_s3_bucket(bucket));
  const bool has_variant = rules.uses_fips || rules.uses_dual_stack || rules.uses_acceleration;
  if (rules.custom && has_variant) {
    return Error(ErrorKind::invalid_argument,
                 "a custom endpoint cannot be combined with FIPS, dual-stack or accelerate");
  }
  const Endpoint endpoint =
      rules.custom ? *rules.custom : Endpoint{"https://" + TRY(aws_host(rules, kind, region)), ""};
  const std::string scheme = endpoint.is_tls() ? "https://" : "http://";
  if (kind.kind == S3Bucket::Kind::access_point) {
    if (is_ip_address(endpoint.host())) {
      return Error(
          ErrorKind::invalid_argument,
          "an access point is part of a host's name, so the endpoint cannot be an address");
    }
    return S3Target{
        fmt::format("{}{}-{}.{}", scheme, kind.name, kind.account, endpoint.host_and_port()),
        endpoint.base_path, true, kind};
  }
  bool is_virtual = rules.addressing == S3Addressing::virtual_host;
  if (rules.addressing == S3Addressing::automatic)
    is_virtual = !rules.custom || wants_virtual_host(endpoint.host()) ||
                 kind.kind == S3Bucket::Kind::directory;
  is_virtual =
      is_virtual && fits_host(bucket, endpoint.is_tls()) && !is_ip_address(endpoint.host());
  if (rules.uses_acceleration && !is_virtual) {
    return Error(ErrorKind::invalid_argument,
                 "an accelerated bucket's name must fit into a host name, without dots");
  }
  if (!is_virtual) {
    return S3Target{endpoint.origin, endpoint.base_path + "/" + percent_encode(bucket), false,
                    kind};
  }
  return S3Target{fmt::format("{}{}.{}", scheme, bucket, endpoint.host_and_port()),
                  endpoint.base_path, true, kind};
}

}  // namespace streamer::core::inline storage
