// SPDX-License-Identifier: Apache-2.0
#include "storage/cloud_hosts.hpp"

#include <fmt/format.h>

#include <array>

#include "base/text.hpp"
#include "storage/s3/endpoint.hpp"

namespace streamer::core::inline storage {

namespace {

constexpr std::array<std::string_view, 3> kAzureSuffixes = {
    ".core.windows.net", ".core.chinacloudapi.cn", ".core.usgovcloudapi.net"};
constexpr std::string_view kGoogleHost = "storage.googleapis.com";
constexpr std::string_view kEmulatorPath = "/devstoreaccount1/";

// Finds the endpoint's own part of an AWS host, "s3.eu-west-1"; the rest, before it, is the bucket.
// Returns where it begins; npos for other hosts.
std::size_t aws_endpoint_at(std::string_view host) {
  const std::string_view body = before_aws_suffix(host);
  for (std::size_t at = 0; at != std::string_view::npos && at < body.size();) {
    const std::string_view rest = body.substr(at);
    for (const std::string_view start :
         {"s3.dualstack.", "s3-fips.dualstack.", "s3-fips.", "s3."}) {
      if (rest.starts_with(start) && is_region(rest.substr(start.size()))) return at;
    }
    if (rest == "s3") return at;
    const std::size_t dot = body.find('.', at);
    at = dot == std::string_view::npos ? dot : dot + 1;
  }
  return std::string_view::npos;
}

bool has_parameter(std::string_view query, std::string_view name) {
  const std::string all = fmt::format("&{}", to_lower(query));
  return all.find(fmt::format("&{}=", to_lower(name))) != std::string::npos;
}

Error foreign_query() {
  return Error(ErrorKind::invalid_argument,
               "a URL of this cloud may have a query only if the query signs it; put a version "
               "into the settings");
}

// "bucket/key" of a host that may name the bucket in front of `endpoint`.
CloudObject split(const HttpUrl& url, std::string_view scheme, std::string_view bucket,
                  std::string_view endpoint) {
  CloudObject object{.scheme = std::string(scheme),
                     .host = std::string(endpoint),
                     .encoded_path = url.path.substr(1),
                     .shown_root = "",
                     .host_names_bucket = !bucket.empty()};
  if (!bucket.empty()) object.encoded_path = std::string(bucket) + url.path;
  return object;
}

}  // namespace

std::string azure_blob_host(std::string_view host) {
  const std::string lower = to_lower(host);
  const std::string_view name = std::string_view(lower).substr(0, lower.find('.'));
  if (name.empty() ||
      name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") != std::string_view::npos)
    return {};
  if (lower.ends_with(".blob.storage.azure.net")) return lower;
  for (const std::string_view suffix : kAzureSuffixes) {
    if (!lower.ends_with(suffix)) continue;
    const std::string_view before = std::string_view(lower).substr(0, lower.size() - suffix.size());
    if (before.ends_with(".blob")) return lower;
    if (before.ends_with(".dfs"))
      return std::string(before.substr(0, before.size() - 3)) + "blob" + std::string(suffix);
  }
  return {};
}

std::string region_of_aws_host(std::string_view host) {
  const std::size_t at = aws_endpoint_at(host);
  if (at == std::string_view::npos) return {};
  const std::string_view endpoint = before_aws_suffix(host).substr(at);
  const std::size_t dot = endpoint.rfind('.');
  return dot == std::string_view::npos ? "us-east-1" : std::string(endpoint.substr(dot + 1));
}

Result<CloudObject> cloud_object(const HttpUrl& url) {
  const std::string host(url.endpoint().host_and_port());
  // The emulator on this machine has the account in the path.
  if (keeps_secrets(url.endpoint()) && url.path.starts_with(kEmulatorPath) &&
      is_ip_address(url.endpoint().host())) {
    CloudObject object{.scheme = "az",
                       .host = url.origin + std::string(kEmulatorPath),
                       .encoded_path = url.path.substr(kEmulatorPath.size()),
                       .shown_root = std::string(kEmulatorPath.substr(1))};
    object.host.pop_back();
    return object;
  }
  if (!url.endpoint().is_tls()) return CloudObject();
  const std::string blob_host = azure_blob_host(host);
  if (!blob_host.empty()) {
    if (url.query.empty() || has_parameter(url.query, "sig"))
      return split(url, "az", "", blob_host);
    return foreign_query();
  }
  CloudObject object;
  if (const std::size_t at = aws_endpoint_at(host); at != std::string::npos) {
    object = split(url, "s3", at == 0 ? "" : host.substr(0, at - 1), host.substr(at));
  } else if (host.ends_with(".r2.cloudflarestorage.com")) {
    object = split(url, "s3", "", host);
  } else if (host == kGoogleHost || host == "storage.cloud.google.com") {
    // The JSON API's own paths are not buckets.
    const bool is_api = url.path.starts_with("/storage/v1/") || url.path.starts_with("/download/");
    if (!is_api) object = split(url, "gs", "", kGoogleHost);
  } else if (host.ends_with(fmt::format(".{}", kGoogleHost))) {
    object = split(url, "gs", host.substr(0, host.size() - kGoogleHost.size() - 1), kGoogleHost);
  }
  if (object.scheme.empty() || url.query.empty()) return object;
  if (has_parameter(url.query, "x-amz-signature") || has_parameter(url.query, "x-goog-signature") ||
      has_parameter(url.query, "signature"))
    return CloudObject();
  return foreign_query();
}

}  // namespace streamer::core::inline storage
