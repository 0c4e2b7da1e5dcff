// SPDX-License-Identifier: Apache-2.0
#include "storage/s3_endpoint.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"

namespace streamer::core {

namespace {

bool is_lower_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

// Whether the bucket's name can be the first part of a host's. A dot would need a certificate for
// two levels, which nobody has.
bool fits_host(std::string_view bucket, bool is_tls) {
  if (bucket.size() < 3 || bucket.size() > 63) return false;
  if (!is_lower_or_digit(bucket.front()) || !is_lower_or_digit(bucket.back())) return false;
  return std::all_of(bucket.begin(), bucket.end(), [&](char c) {
    return is_lower_or_digit(c) || c == '-' || (c == '.' && !is_tls);
  });
}

// Stores that refuse path style.
bool wants_virtual_host(std::string_view host) {
  return host.ends_with(".aliyuncs.com") || host.ends_with(".myqcloud.com");
}

std::string_view suffix_of(std::string_view region) {
  if (region.starts_with("cn-")) return "amazonaws.com.cn";
  if (region.starts_with("us-iso-")) return "c2s.ic.gov";
  if (region.starts_with("us-isob-")) return "sc2s.sgov.gov";
  if (region.starts_with("eu-isoe-")) return "cloud.adc-e.uk";
  if (region.starts_with("us-isof-")) return "csp.hci.ic.gov";
  if (region.starts_with("eusc-")) return "amazonaws.eu";
  return "amazonaws.com";
}

std::string aws_host(const S3EndpointRules& rules, std::string_view region) {
  if (rules.uses_acceleration)
    return rules.uses_dual_stack ? "s3-accelerate.dualstack.amazonaws.com"
                                 : "s3-accelerate.amazonaws.com";
  if (region == "aws-global") return "s3.amazonaws.com";
  return fmt::format("s3{}{}.{}.{}", rules.uses_fips ? "-fips" : "",
                     rules.uses_dual_stack ? ".dualstack" : "", region, suffix_of(region));
}

}  // namespace

bool is_region(std::string_view text) noexcept {
  if (text.empty() || text.size() > 63 || text.front() == '-' || text.back() == '-') return false;
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  if (std::all_of(text.begin(), text.end(), is_digit)) return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z') || c == '-';
  });
}

Result<S3Target> s3_target(const S3EndpointRules& rules, std::string_view bucket,
                           std::string_view region) {
  if (bucket.starts_with("arn:"))
    return Error(ErrorKind::unsupported, "buckets given by ARN (access points) are not supported");
  if (bucket.ends_with("--x-s3")) {
    return Error(ErrorKind::unsupported,
                 "S3 Express buckets need sessions of their own, which are not supported");
  }
  const bool has_variant = rules.uses_fips || rules.uses_dual_stack || rules.uses_acceleration;
  if (rules.custom && has_variant) {
    return Error(ErrorKind::invalid_argument,
                 "an endpoint of one's own cannot be combined with FIPS, dual-stack or accelerate");
  }
  const Endpoint endpoint =
      rules.custom ? *rules.custom : Endpoint{"https://" + aws_host(rules, region), ""};
  bool is_virtual = rules.addressing == S3Addressing::virtual_host;
  if (rules.addressing == S3Addressing::automatic)
    is_virtual = !rules.custom || wants_virtual_host(endpoint.host());
  is_virtual =
      is_virtual && fits_host(bucket, endpoint.is_tls()) && !is_ip_address(endpoint.host());
  if (rules.uses_acceleration && !is_virtual) {
    return Error(ErrorKind::invalid_argument,
                 "an accelerated bucket's name must fit into a host name, without dots");
  }
  if (!is_virtual) {
    return S3Target{endpoint.origin, endpoint.base_path + "/" + percent_encode(bucket), false};
  }
  const std::string scheme = endpoint.is_tls() ? "https://" : "http://";
  return S3Target{fmt::format("{}{}.{}", scheme, bucket, endpoint.host_and_port()),
                  endpoint.base_path, true};
}

}  // namespace streamer::core
