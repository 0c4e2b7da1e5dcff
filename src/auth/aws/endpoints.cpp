// SPDX-License-Identifier: Apache-2.0
// The endpoints of the AWS services that issue credentials.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "auth/aws/context.hpp"

namespace streamer::core::inline auth {

namespace {

// The regions for which AWS_STS_REGIONAL_ENDPOINTS=legacy means the global endpoint: those that
// existed when the variable was introduced.
constexpr std::array<std::string_view, 16> kLegacyStsRegions = {
    "ap-northeast-1", "ap-south-1",   "ap-southeast-1", "ap-southeast-2",
    "ca-central-1",   "eu-central-1", "eu-north-1",     "eu-west-1",
    "eu-west-2",      "eu-west-3",    "sa-east-1",      "us-east-1",
    "us-east-2",      "us-west-1",    "us-west-2",      "aws-global"};

struct ServiceRow {
  const char* variable;
  std::string_view key;   // in a services section
  std::string_view host;  // what its hosts begin with
};

constexpr std::array<ServiceRow, 3> kServices = {{
    {"AWS_ENDPOINT_URL_STS", "sts", "sts"},
    {"AWS_ENDPOINT_URL_SSO", "sso", "portal.sso"},
    {"AWS_ENDPOINT_URL_SSO_OIDC", "sso_oidc", "oidc"},
}};

bool wants_legacy_sts(const AwsContext& context, const AwsConfig& config, std::string_view region) {
  auto mode = context.environment("AWS_STS_REGIONAL_ENDPOINTS");
  if (!mode) mode = config.value("sts_regional_endpoints");
  return mode == "legacy" && std::find(kLegacyStsRegions.begin(), kLegacyStsRegions.end(),
                                       region) != kLegacyStsRegions.end();
}

}  // namespace

AwsVariant aws_variant(const Environment& environment, const AwsConfig& config) {
  const auto flag = [&](const char* variable, std::string_view key) {
    const auto value = environment(variable);
    return is_true(value ? *value : config.value(key).value_or(""));
  };
  return {.fips = flag("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint"),
          .dual_stack = flag("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint")};
}

bool ignores_aws_endpoint_urls(const Environment& environment, const AwsConfig& config) {
  const auto value = environment("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
  return is_true(value ? *value : config.value("ignore_configured_endpoint_urls").value_or(""));
}

Result<AwsEndpoint> aws_endpoint(const AwsContext& context, const AwsConfig& config,
                                 AwsService service, const std::string& region_text) {
  const ServiceRow& row = kServices.at(static_cast<std::size_t>(service));
  AwsRegion region = read_aws_region(region_text.empty() ? "aws-global" : region_text);
  AwsVariant variant = aws_variant(context.environment, config);
  variant.fips = variant.fips || region.wants_fips;
  AwsEndpoint found{.endpoint = {}, .region = region.name};
  if (!ignores_aws_endpoint_urls(context.environment, config)) {
    for (const char* const variable : {row.variable, "AWS_ENDPOINT_URL"}) {
      const auto url = context.environment(variable);
      if (!url) continue;
      found.endpoint = TRY(parse_endpoint(*url).at(variable));
      return found;
    }
    if (const auto url = config.endpoint_url(row.key)) {
      found.endpoint =
          TRY(parse_endpoint(*url).at(fmt::format("profile \"{}\"", config.profile())));
      return found;
    }
  }
  const bool is_plain = !variant.fips && !variant.dual_stack;
  const bool is_global = region.is_global && aws_partition_of(region.name).name == "aws";
  if (service == AwsService::sts && is_plain &&
      (is_global || wants_legacy_sts(context, config, region_text))) {
    found.endpoint = Endpoint{"https://sts.amazonaws.com", ""};
    found.region = "us-east-1";
    return found;
  }
  if (!is_region(region.name)) {
    return Error(ErrorKind::invalid_argument,
                 fmt::format("\"{}\" (from {}) is not a region", region_text.substr(0, 80),
                             service == AwsService::sts ? "AWS_REGION or the profile's region"
                                                        : "the profile's sso_region"));
  }
  found.endpoint = Endpoint{"https://" + TRY(aws_service_host(row.host, region.name, variant)), ""};
  return found;
}

}  // namespace streamer::core::inline auth
