// SPDX-License-Identifier: Apache-2.0
#include "http/other_scheme.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>

namespace streamer::core::inline http {

namespace {

// OpenSSL's texts for an answer that is not a TLS record.
constexpr std::array<std::string_view, 5> kNoTls = {"wrong version number", "http request",
                                                    "packet length too long", "unknown protocol",
                                                    "record layer failure"};
// Enough of an answer to recognise it.
constexpr std::size_t kAnswerBytes = 4096;

bool says_one_of(std::string_view text, std::span<const std::string_view> words) {
  return std::any_of(words.begin(), words.end(), [&](std::string_view word) {
    return text.find(word) != std::string_view::npos;
  });
}

HttpRequest probe_of(const HttpRequest& request, std::string_view scheme) {
  HttpRequest probe;
  probe.origin = fmt::format("{}://{}", scheme, request.host());
  HttpRoute route;
  // No secret is sent and no answer trusted: this only finds out whether a TLS handshake begins.
  route.verifies_tls = false;
  probe.route = std::make_shared<const HttpRoute>(std::move(route));
  return probe;
}

TransferOptions quick_options() {
  return {.connect_timeout = Milliseconds(1000),
          .total_timeout = Milliseconds(2000),
          .kept_bytes = kAnswerBytes};
}

bool speaks_tls(HttpClient& http, const HttpRequest& request) {
  const HttpRequest probe = probe_of(request, "https");
  KeepBody sink;
  Transfer transfer(probe, sink, quick_options());
  if (!http.run(transfer)) return false;
  return transfer.fault() == TransferFault::none || transfer.times().secured_s > 0;
}

bool speaks_plain_http(HttpClient& http, const HttpRequest& request) {
  const auto answer = http.fetch(probe_of(request, "http"), quick_options());
  return answer && !says_tls_port(answer->head.status, answer->body);
}

std::string plain_port_text(const HttpRequest& request) {
  return fmt::format(
      "{} does not speak TLS: it answers in plain HTTP; write http://{} (an endpoint without a "
      "scheme means https)",
      request.origin, request.host());
}

}  // namespace

std::string scheme_mismatch(HttpClient& http, const Transfer& transfer) {
  const HttpRequest& request = transfer.request();
  // Behind a proxy the failure says nothing about the server.
  if (request.route && !request.route->proxy.empty()) return {};
  const TransferFault fault = transfer.fault();
  if (request.is_tls()) {
    if (transfer.times().secured_s > 0) return {};  // it does
    const bool failed_in_tls =
        fault == TransferFault::untrusted || fault == TransferFault::handshake;
    if (failed_in_tls && says_one_of(transfer.fault_text(), kNoTls))
      return plain_port_text(request);
    const bool was_cut = fault == TransferFault::handshake || fault == TransferFault::reset;
    return was_cut && speaks_plain_http(http, request) ? plain_port_text(request) : std::string();
  }
  const bool is_odd = fault == TransferFault::bad_response || fault == TransferFault::reset;
  return is_odd && speaks_tls(http, request) ? tls_port_text(request) : std::string();
}

bool says_tls_port(int status, std::string_view body) noexcept {
  constexpr std::array<std::string_view, 4> kWords = {
      "HTTP request was sent to HTTPS", "HTTP request to an HTTPS server", "plain HTTP to an SSL",
      "plain HTTP to a TLS"};
  return (status == 400 || status == 426 || status == 497) && says_one_of(body, kWords);
}

std::string tls_port_text(const HttpRequest& request) {
  return fmt::format("{} speaks TLS, but was asked in plain HTTP; write https://{}", request.origin,
                     request.host());
}

}  // namespace streamer::core::inline http
