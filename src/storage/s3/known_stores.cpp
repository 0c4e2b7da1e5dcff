// SPDX-License-Identifier: Apache-2.0
#include "storage/s3/known_stores.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "base/text.hpp"

namespace streamer::core::inline storage {

namespace {

// tests/house/check_docs.py reads these rows.
constexpr std::array kStores = {
    KnownStore{.name = "AWS S3",
               .hosts = "amazonaws.com amazonaws.com.cn",
               .server = "AmazonS3",
               .region = "the bucket's; a wrong one is corrected",
               .checksums = "yes, FULL_OBJECT ones",
               .quirks = "directory buckets list without order",
               .advice = "set no endpoint: it follows from the region",
               .tried = "documented"},
    KnownStore{.name = "Cloudflare R2",
               .hosts = "r2.cloudflarestorage.com",
               .default_region = "auto",
               .region = "auto",
               .checksums = "if they were uploaded",
               .quirks = "buckets of a jurisdiction have an endpoint of their own "
                         "(ACCOUNT.eu.r2.cloudflarestorage.com)",
               .advice = "endpoint https://ACCOUNT.r2.cloudflarestorage.com, without the bucket",
               .tried = "documented"},
    KnownStore{.name = "MinIO",
               .server = "MinIO",
               .header = "x-minio-",
               .region = "any, unless MINIO_REGION is set there; then that one is learnt",
               .checksums = "if they were uploaded",
               .quirks = "the port of its console is not the API's",
               .advice = "endpoint http://HOST:9000",
               .tried = "minio of 2026-02-12, 2026-11"},
    KnownStore{.name = "Alibaba OSS",
               .hosts = "oss-{region}.aliyuncs.com oss-{region}-internal.aliyuncs.com "
                        "aliyuncs.com",
               .server = "AliyunOSS",
               .header = "x-oss-",
               .wants_virtual_host = true,
               .region = "in the host's name",
               .checksums = "no (it has x-oss-hash-crc64ecma)",
               .quirks = "refuses path style (SecondLevelDomainForbidden)",
               .advice = "endpoint https://oss-REGION.aliyuncs.com, or oss-REGION-internal within "
                         "the region, which is free of charge",
               .tried = "documented"},
    KnownStore{.name = "Tencent COS",
               .hosts = "cos.{region}.myqcloud.com cos-internal.{region}.tencentcos.cn "
                        "myqcloud.com",
               .server = "tencent-cos",
               .header = "x-cos-",
               .wants_virtual_host = true,
               .region = "in the host's name",
               .checksums = "no (it has x-cos-hash-crc64ecma)",
               .quirks = "refuses path style; a bucket's name ends in the account's number",
               .advice = "endpoint https://cos.REGION.myqcloud.com; bucket NAME-APPID",
               .tried = "documented"},
    KnownStore{.name = "Backblaze B2",
               .hosts = "s3.{region}.backblazeb2.com",
               .header = "x-bz-",
               .region = "in the host's name",
               .checksums = "not known",
               .quirks = "answers 503 and 429 when it is busy: fewer connections follow",
               .advice =
                   "endpoint https://s3.REGION.backblazeb2.com, as the bucket's page says; an "
                   "application key, not the master key",
               .tried = "documented"},
    KnownStore{
        .name = "Oracle OCI Object Storage",
        .hosts = "compat.objectstorage.{region}.oraclecloud.com "
                 "compat.objectstorage.{region}.oci.customer-oci.com",
        .header = "opc-request-id",
        .region = "in the host's name, and must be right",
        .checksums = "not known",
        .quirks = "path style, but at vhcompat hosts; keys are \"Customer Secret Keys\"",
        .advice = "endpoint https://NAMESPACE.compat.objectstorage.REGION.oci.customer-oci.com",
        .tried = "documented"},
    KnownStore{.name = "Tigris",
               .hosts = "t3.storage.dev t3.storageapi.dev fly.storage.tigris.dev",
               .server = "Tigris OS",
               .header = "x-tigris-",
               .wants_virtual_host = true,
               .default_region = "auto",
               .region = "auto",
               .checksums = "not known",
               .quirks = "new buckets refuse path style",
               .advice = "endpoint https://t3.storage.dev",
               .tried = "documented"},
    KnownStore{.name = "Wasabi",
               .hosts = "s3.{region}.wasabisys.com s3.wasabisys.com",
               .server = "WasabiS3",
               .header = "x-wasabi-",
               .region = "in the host's name",
               .checksums = "not known",
               .quirks = "a bucket answers at its own region's host only",
               .advice = "endpoint https://s3.REGION.wasabisys.com of the bucket's region",
               .tried = "documented"},
    KnownStore{.name = "CoreWeave AI Object Storage",
               .hosts = "cwobject.com cwlota.com",
               .wants_virtual_host = true,
               .region = "the bucket's availability zone, such as US-EAST-04A",
               .checksums = "not known",
               .quirks = "refuses path style",
               .advice = "endpoint http://cwlota.com within a cluster: its cache on the nodes is "
                         "faster; https://cwobject.com elsewhere",
               .tried = "documented"},
    KnownStore{.name = "Nebius Object Storage",
               .hosts = "storage.{region}.nebius.cloud",
               .region = "in the host's name",
               .checksums = "not known",
               .quirks = "none known",
               .advice = "endpoint https://storage.REGION.nebius.cloud",
               .tried = "documented"},
    KnownStore{.name = "DigitalOcean Spaces",
               .hosts = "{region}.digitaloceanspaces.com",
               .region = "in the host's name",
               .checksums = "not known",
               .quirks = "it is Ceph",
               .advice = "endpoint https://REGION.digitaloceanspaces.com",
               .tried = "documented"},
    KnownStore{.name = "Google Cloud Storage, as S3",
               .hosts = "storage.googleapis.com",
               .server = "UploadServer",
               .header = "x-guploader-",
               .default_region = "auto",
               .region = "any",
               .checksums = "no; gs:// has them",
               .quirks = "HMAC keys only",
               .advice = "use gs:// URIs, which take every kind of Google's credentials",
               .tried = "documented"},
    KnownStore{.name = "versitygw",
               .server = "VERSITYGW",
               .region = "its --region (us-east-1); another one is learnt",
               .checksums = "yes, CRC-64/NVME of every object",
               .quirks = "does not encode listings, and does not say that it would",
               .advice = "nothing but the endpoint",
               .tried = "versitygw 1.8.0, 2026-11"},
    KnownStore{.name = "AIStore",
               .server = "AIStore",
               .header = "ais-",
               .region = "any",
               .checksums = "not known",
               .quirks = "redirects each read to the machine that has the object (307), which is "
                         "followed; the API is below /s3",
               .advice = "endpoint http://HOST:51080/s3",
               .tried = "documented"},
    KnownStore{.name = "NooBaa",
               .header = "x-noobaa-",
               .region = "any",
               .checksums = "not known",
               .quirks = "none known",
               .advice = "in OpenShift, the endpoint is the route s3 of openshift-storage; "
                         "ca_bundle for its certificate",
               .tried = "documented"},
    KnownStore{.name = "SeaweedFS",
               .server = "SeaweedFS",
               .region = "any",
               .checksums = "if they were uploaded",
               .quirks = "none known",
               .advice = "endpoint http://HOST:8333",
               .tried = "weed 4.53, 2026-11"},
    KnownStore{.name = "LocalStack",
               .header = "x-localstack",
               .region = "any",
               .checksums = "not known",
               .quirks = "does not check signatures",
               .advice = "endpoint http://HOST:4566; a test server, not one for measurements",
               .tried = "documented"},
    KnownStore{.name = "moto",
               .server = "Werkzeug",
               .region = "any",
               .checksums = "if they were uploaded",
               .quirks = "closes each connection; does not check signatures",
               .advice = "a test server, not one for measurements",
               .tried = "moto 5.2.5, 2026-11"},
    KnownStore{
        .name = "s3rver",
        .body = "<DisplayName>S3rver</DisplayName>",
        .region = "any",
        .checksums = "no",
        .quirks = "does not check conditions, for which ETags are compared here; takes "
                  "bytes=0-0 for the whole object; answers a range of an empty object with a "
                  "byte that never comes; does not encode listings",
        .advice = "on Node 17 and newer start it with NODE_OPTIONS=--openssl-legacy-provider, "
                  "or listings of more than one page fail (500 InternalError)",
        .tried = "s3rver 3.7.1, Node 20.20.2, 2026-11"},
    KnownStore{.name = "Ceph (radosgw)",
               .server = "Ceph Object Gateway",
               .header = "x-rgw-",
               .request_id = "tx0",
               .region = "any, unless it is told to check it",
               .checksums = "none in 16; newer ones not known",
               .quirks = "none in what is read here",
               .advice = "nothing but the endpoint; s3_addressing=virtual if it has a DNS name and "
                         "DNS has a wildcard for it",
               .tried = "radosgw 16.2.15, in the test suite"},
};

// The region that a pattern's {region} stands for; empty if it has none; nullopt: another host.
std::optional<std::string_view> match(std::string_view host, std::string_view pattern) {
  constexpr std::string_view kRegion = "{region}";
  const auto begins_label = [&](std::size_t at) { return at == 0 || host[at - 1] == '.'; };
  const std::size_t mark = pattern.find(kRegion);
  if (mark == std::string_view::npos) {
    const bool is_it = host.ends_with(pattern) && begins_label(host.size() - pattern.size());
    return is_it ? std::optional(std::string_view()) : std::nullopt;
  }
  const std::string_view before = pattern.substr(0, mark);
  const std::string_view after = pattern.substr(mark + kRegion.size());
  if (!host.ends_with(after)) return std::nullopt;
  const std::string_view head = host.substr(0, host.size() - after.size());
  for (std::size_t at = 0; at < head.size(); ++at) {
    if (!begins_label(at) || !head.substr(at).starts_with(before)) continue;
    const std::string_view region = head.substr(at + before.size());
    if (!region.empty() && region.find('.') == std::string_view::npos) return region;
  }
  return std::nullopt;
}

// The pattern that fits and says most of the region.
std::optional<std::string_view> match_any(std::string_view host, std::string_view patterns) {
  std::optional<std::string_view> found;
  while (!patterns.empty()) {
    const std::size_t end = std::min(patterns.find(' '), patterns.size());
    const auto region = match(host, patterns.substr(0, end));
    // Of "oss-{region}" and "oss-{region}-internal", the one that leaves less for the region.
    const bool is_better = region && (!found || found->empty() ||
                                      (!region->empty() && region->size() < found->size()));
    if (is_better) found = region;
    patterns.remove_prefix(std::min(end + 1, patterns.size()));
  }
  return found;
}

bool starts_with_ignoring_case(std::string_view text, std::string_view start) {
  return text.size() >= start.size() && equal_ignoring_case(text.substr(0, start.size()), start);
}

bool says(const KnownStore& store, const HttpHeader& header) {
  if (!store.header.empty() && header.name.starts_with(store.header)) return true;
  const auto has = [&](std::string_view name, std::string_view start) {
    return !start.empty() && header.name == name && starts_with_ignoring_case(header.value, start);
  };
  return has("server", store.server) || has("x-amz-request-id", store.request_id);
}

}  // namespace

std::span<const KnownStore> known_stores() noexcept {
  return kStores;
}

const KnownStore* known_store_at(std::string_view host) noexcept {
  const auto found = std::find_if(kStores.begin(), kStores.end(), [&](const KnownStore& store) {
    return match_any(host, store.hosts).has_value();
  });
  return found == kStores.end() ? nullptr : &*found;
}

const KnownStore* recognise_store(std::string_view host, const HttpAnswer& answer) {
  if (const KnownStore* const named = known_store_at(host)) return named;
  const auto found = std::find_if(kStores.begin(), kStores.end(), [&](const KnownStore& store) {
    if (!store.body.empty() && answer.body.find(store.body) != std::string::npos) return true;
    return std::any_of(answer.head.headers.begin(), answer.head.headers.end(),
                       [&](const HttpHeader& header) { return says(store, header); });
  });
  return found == kStores.end() ? nullptr : &*found;
}

std::string region_of_known_host(std::string_view host) {
  const KnownStore* const store = known_store_at(host);
  if (store == nullptr) return {};
  const std::string_view region = *match_any(host, store->hosts);
  return std::string(region.empty() ? store->default_region : region);
}

}  // namespace streamer::core::inline storage
