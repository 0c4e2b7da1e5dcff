// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where a bucket is: host, path and style. Pure.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "auth/aws/partitions.hpp"
#include "base/result.hpp"
#include "http/request.hpp"
#include "storage/s3/bucket.hpp"

namespace streamer::core::inline storage {

enum class S3Addressing : std::uint8_t { automatic, path, virtual_host };

struct S3EndpointRules {
  std::optional<Endpoint> custom;  // instead of AWS' own
  S3Addressing addressing = S3Addressing::automatic;
  bool uses_fips = false;
  bool uses_dual_stack = false;
  bool uses_acceleration = false;
};

struct S3Target {
  std::string origin;
  std::string base_path;  // before "/key": the endpoint's own path and, path style, "/bucket"
  bool is_virtual_host = false;
  S3Bucket bucket;  // what it is
};

// invalid_argument for combinations that do not exist; unsupported for variants that the region's
// partition does not have, and as read_s3_bucket().
Result<S3Target> s3_target(const S3EndpointRules& rules, std::string_view bucket,
                           std::string_view region);

}  // namespace streamer::core::inline storage
