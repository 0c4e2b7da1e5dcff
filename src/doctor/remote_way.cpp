// SPDX-License-Identifier: Apache-2.0
// The doctor's steps to a store behind HTTP.
#include <fmt/format.h>

#include "base/clean_text.hpp"
#include "doctor/remote_way.hpp"
#include "http/other_scheme.hpp"
#include "http/proxy.hpp"
#include "http/system_authorities.hpp"

namespace streamer::core::inline doctor {

Result<void> diagnose_way(RemoteStore& store, const Uri& uri, const DoctorReport& report) {
  const AuthContext& context = store.context();
  DoctorSteps steps(report);
  RemoteWay way;
  if (!steps.run("endpoint", [&]() -> Result<std::string> {
        way = TRY(store.way_to(uri));
        if (way.origin.empty()) return way.endpoint_source;
        return fmt::format("{} (from {})", way.origin, way.endpoint_source);
      }))
    return steps.failure();
  for (const auto& [name, detail] : way.facts)
    steps.run(name, [&detail = detail]() -> Result<std::string> { return detail; });
  if (way.origin.empty()) return {};
  const Endpoint endpoint = TRY(parse_endpoint(way.origin));  // an account may be its path
  const std::string proxy = proxy_for(endpoint, context.environment);
  if (!steps.run("proxy", [&]() -> Result<std::string> {
        return proxy.empty() ? std::string("none") : url_without_secrets(proxy);
      }))
    return steps.failure();
  if (!steps.run("CA", [&]() -> Result<std::string> {
        if (!endpoint.is_tls()) return std::string("not needed: the endpoint is http");
        const TlsFiles& tls = context.tls;
        if (!tls.tried.empty()) return no_authorities(tls);
        std::string text =
            fmt::format("{}{}{}", tls.ca_file,
                        tls.ca_file.empty() || tls.ca_folder.empty() ? "" : ", ", tls.ca_folder);
        if (!tls.client_certificate.empty())
          text += fmt::format("; client certificate {}", tls.client_certificate);
        return text;
      }))
    return steps.failure();
  if (proxy.empty()) {
    if (!steps.run("addresses", [&]() -> Result<std::string> {
          std::string all;
          for (const std::string& address : context.resolver(std::string(endpoint.host())))
            all += fmt::format("{}{}", all.empty() ? "" : ", ", address);
          if (!all.empty()) return all;
          TRY(still_wanted(fmt::format("looking up {}", endpoint.host())));
          return Error(
              ErrorKind::io,
              fmt::format("{} has no address; check the endpoint's spelling, DNS and, with "
                          "virtual-host addressing, the bucket's name",
                          endpoint.host()));
        }))
      return steps.failure();
  }
  HttpAnswer answer;
  if (!steps.run("connection", [&]() -> Result<std::string> {
        HttpRequest request;
        request.origin = endpoint.origin;
        request.route = context.route_to(endpoint);
        KeepBody sink;
        TransferOptions options;
        options.wants_tls_version = true;
        Transfer transfer(request, sink, options);
        TRY(store.http().run(transfer));
        answer = {transfer.head(), transfer.kept_body()};
        if (std::string mismatch = scheme_mismatch(store.http(), transfer); !mismatch.empty())
          return Error(transfer_error(transfer).kind(), std::move(mismatch));
        if (says_tls_port(transfer.head().status, transfer.kept_body()))
          return Error(ErrorKind::invalid_argument, tls_port_text(request));
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
  if (std::string server = store.describe_server(uri, answer); !server.empty())
    steps.run("server", [&]() -> Result<std::string> { return server; });
  const auto describe = [&] { return store.describe_credentials(uri); };
  if (!steps.run("credentials", describe)) return steps.failure();
  return {};
}

}  // namespace streamer::core::inline doctor
