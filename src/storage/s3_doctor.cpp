// SPDX-License-Identifier: Apache-2.0
// The way to a bucket, step by step.
#include <fmt/format.h>

#include "http/proxy.hpp"
#include "storage/s3_store.hpp"

namespace streamer::core {

namespace {

// What stands before the @ of a proxy's URL is a password.
std::string without_user(const std::string& proxy) {
  const std::size_t at = proxy.rfind('@');
  const std::size_t scheme = proxy.find("://");
  if (at == std::string::npos) return proxy;
  return (scheme == std::string::npos ? "" : proxy.substr(0, scheme + 3)) + proxy.substr(at + 1);
}

}  // namespace

Result<void> S3Store::diagnose_way(const Uri& uri, const DoctorReport& report) {
  DoctorSteps steps(report);
  S3Target target;
  if (!steps.run("endpoint", [&]() -> Result<std::string> {
        target = TRY(target_of(uri));
        return fmt::format("{} (from {})", target.origin, config_.endpoint_source);
      }))
    return steps.failure();
  if (!steps.run("addressing", [&]() -> Result<std::string> {
        return std::string(target.is_virtual_host
                               ? "virtual host: the bucket is part of the host's name"
                               : "path style: the bucket is part of the path");
      }))
    return steps.failure();
  if (!steps.run("region", [&]() -> Result<std::string> {
        return fmt::format("{} (from {})", config_.region.value, config_.region.source);
      }))
    return steps.failure();
  const Endpoint endpoint{target.origin, ""};
  const std::string proxy = proxy_for(endpoint, config_.auth.environment);
  if (!steps.run("proxy", [&]() -> Result<std::string> {
        return proxy.empty() ? std::string("none") : without_user(proxy);
      }))
    return steps.failure();
  if (!steps.run("CA", [&]() -> Result<std::string> {
        if (!endpoint.is_tls()) return std::string("not needed: the endpoint is http");
        return config_.ca_bundle.empty() ? std::string("the system's") : config_.ca_bundle;
      }))
    return steps.failure();
  if (proxy.empty()) {
    if (!steps.run("addresses", [&]() -> Result<std::string> {
          std::string all;
          for (const std::string& address : config_.auth.resolver(std::string(endpoint.host())))
            all += fmt::format("{}{}", all.empty() ? "" : ", ", address);
          if (!all.empty()) return all;
          return Error(
              ErrorKind::io,
              fmt::format("{} has no address; check the endpoint's spelling, DNS and, with "
                          "virtual-host addressing, the bucket's name",
                          endpoint.host()));
        }))
      return steps.failure();
  }
  if (!steps.run("connection", [&]() -> Result<std::string> {
        HttpRequest request;
        request.origin = target.origin;
        request.route = config_.auth.route_to(endpoint);
        KeepBody sink;
        TransferOptions options;
        options.wants_tls_version = true;
        Transfer transfer(request, sink, options);
        TRY(http().run(transfer));
        if (transfer.fault() != TransferFault::none) return transfer_error(transfer);
        const TransferTimes times = transfer.times();
        std::string text = fmt::format("{}: connected in {:.1f} ms", transfer.address_used(),
                                       1e3 * (times.connected_s - times.resolved_s));
        if (endpoint.is_tls())
          text += fmt::format(", {} in {:.1f} ms", transfer.tls_version(),
                              1e3 * (times.secured_s - times.connected_s));
        return text + fmt::format(", first byte {:.1f} ms later",
                                  1e3 * (times.first_byte_s -
                                         std::max(times.connected_s, times.secured_s)));
      }))
    return steps.failure();
  const bool has_credentials = steps.run("credentials", [&]() -> Result<std::string> {
    if (config_.is_unsigned) return std::string("none: requests are not signed (s3_unsigned)");
    const AwsCredentials found = TRY(credentials());
    std::string text = fmt::format(
        "from {}, access key id ends in {}", found.source,
        found.access_key_id.substr(found.access_key_id.size() -
                                   std::min<std::size_t>(4, found.access_key_id.size())));
    if (!found.session_token.empty()) text += ", with a session token";
    if (found.expires) text += ", until " + format_iso(*found.expires);
    return text;
  });
  if (!has_credentials) return steps.failure();
  return {};
}

}  // namespace streamer::core
