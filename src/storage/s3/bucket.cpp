// SPDX-License-Identifier: Apache-2.0
#include "storage/s3/bucket.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "auth/aws/partitions.hpp"

namespace streamer::core::inline storage {

namespace {

constexpr std::string_view kAccessPoint = "accesspoint";

// Without dashes at its ends: it becomes a part of a host's name.
bool is_host_label(std::string_view text) {
  const auto is_allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  };
  return !text.empty() && text.size() <= 63 && text.front() != '-' && text.back() != '-' &&
         std::all_of(text.begin(), text.end(), is_allowed);
}

bool is_account(std::string_view text) {
  return text.size() == 12 && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// "arn:partition:service:region:account" and the rest.
struct Arn {
  std::array<std::string_view, 5> parts;
  std::string_view resource;
};

bool split_arn(std::string_view text, Arn& arn) {
  for (std::string_view& part : arn.parts) {
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos) return false;
    part = text.substr(0, colon);
    text.remove_prefix(colon + 1);
  }
  arn.resource = text;
  return arn.parts[0] == "arn";
}

Error unsupported(std::string_view text) {
  return Error(ErrorKind::unsupported, std::string(text));
}

Error bad_arn(std::string_view bucket, std::string_view why) {
  return Error(ErrorKind::invalid_argument,
               fmt::format("\"{}\" is not the ARN of an access point that can be read: {}; write "
                           "s3://arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME/KEY",
                           bucket, why));
}

Result<S3Bucket> read_access_point(std::string_view bucket) {
  Arn arn;
  if (!split_arn(bucket, arn)) return bad_arn(bucket, "parts are missing");
  const auto [prefix, partition, service, region, account] = arn.parts;
  if (service == "s3-object-lambda") {
    return unsupported(
        "this is an Object Lambda access point: a function makes its answers, which have neither "
        "ranges nor versions that weights could be read by; name the access point behind it");
  }
  if (service == "s3-outposts")
    return unsupported("access points of S3 on Outposts are not supported");
  if (service != "s3" && service != "s3express")
    return bad_arn(bucket, fmt::format("its service is \"{}\"", service));
  if (!arn.resource.starts_with(kAccessPoint) || arn.resource.size() < kAccessPoint.size() + 2) {
    if (account.empty() && region.empty() && !arn.resource.empty())
      return bad_arn(bucket, fmt::format("it is a bucket's; write s3://{}/KEY", arn.resource));
    return bad_arn(bucket, "it names no access point");
  }
  const std::string_view name = arn.resource.substr(kAccessPoint.size() + 1);
  if (name.ends_with(".mrap") || region.empty()) {
    return unsupported(
        "this is a multi-region access point: requests to it need signatures that hold in all "
        "regions (SigV4a, with keys of elliptic curves), which this version does not make; name a "
        "bucket behind it, or an access point of one region");
  }
  if (!is_region(region) || aws_partition_of(region).name != partition)
    return bad_arn(bucket, fmt::format("\"{}\" is not a region of \"{}\"", region, partition));
  if (!is_account(account)) return bad_arn(bucket, "an account has 12 digits");
  if (!is_host_label(name)) return bad_arn(bucket, fmt::format("\"{}\" is not a name", name));
  if (service == "s3express") {
    S3Bucket directory = TRY(read_s3_bucket(name));
    if (directory.kind != S3Bucket::Kind::directory)
      return bad_arn(bucket, "its name does not end in --ZONE--xa-s3");
    return bad_arn(bucket,
                   fmt::format("it belongs to a directory bucket; write s3://{}/KEY", name));
  }
  return S3Bucket{.kind = S3Bucket::Kind::access_point,
                  .zone = {},
                  .name = std::string(name),
                  .account = std::string(account),
                  .region = std::string(region),
                  .partition = std::string(partition)};
}

}  // namespace

Result<S3Bucket> read_s3_bucket(std::string_view bucket) {
  if (bucket.starts_with("arn:")) return read_access_point(bucket);
  for (const std::string_view suffix : {"--x-s3", "--xa-s3"}) {
    if (!bucket.ends_with(suffix)) continue;
    const std::string_view rest = bucket.substr(0, bucket.size() - suffix.size());
    const std::size_t dashes = rest.rfind("--");
    const std::string_view zone =
        dashes == std::string_view::npos ? std::string_view() : rest.substr(dashes + 2);
    if (dashes == 0 || !is_host_label(zone) || !is_host_label(bucket)) {
      return Error(ErrorKind::invalid_argument,
                   fmt::format("\"{}\" ends like a directory bucket (S3 Express), but such a name "
                               "is NAME--ZONE{}",
                               bucket, suffix));
    }
    S3Bucket directory;
    directory.kind = S3Bucket::Kind::directory;
    directory.zone = zone;
    return directory;
  }
  return S3Bucket();
}

std::size_t access_point_bytes(std::string_view text) noexcept {
  Arn arn;
  if (!split_arn(text, arn) || !arn.resource.starts_with(kAccessPoint)) return 0;
  const std::size_t before = text.size() - arn.resource.size() + kAccessPoint.size();
  if (before >= text.size() || (text[before] != '/' && text[before] != ':')) return 0;
  return std::min(text.find('/', before + 1), text.size());
}

}  // namespace streamer::core::inline storage
