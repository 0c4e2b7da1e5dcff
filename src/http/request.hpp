// SPDX-License-Identifier: Apache-2.0
#pragma once
// One HTTP request, as it is sent.

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"

namespace streamer::core::inline http {

struct HttpHeader {
  std::string name;
  std::string value;
};

// The authorities that servers' certificates must be signed by, and the client's certificate: paths
// of PEM files.
struct TlsFiles {
  std::string ca_file;             // both empty: libcurl's own; otherwise only these are trusted
  std::string ca_folder;           // certificates named by their hashes; ':' between several
  std::string tried;               // not empty: there are none, and this is where they were sought
  std::string client_certificate;  // with those that vouch for it; empty: none
  std::string client_key;          // empty: it is in the certificate's file
};

// How a host is reached and trusted: the same for all requests to an endpoint.
struct HttpRoute {
  TlsFiles tls;
  std::string proxy;         // URL of a proxy; empty: none
  bool verifies_tls = true;  // false only by explicit setting
};

struct HttpRequest {
  std::string method = "GET";
  std::string origin;      // "https://host" or "http://host:9000"; host in lower case
  std::string path = "/";  // percent-encoded; sent as it stands
  std::string query;       // "a=b&c=", percent-encoded, without the '?'
  std::vector<HttpHeader> headers;
  std::string body;  // of a POST or PUT
  std::shared_ptr<const HttpRoute> route;

  // "host:9000": the Host header.
  [[nodiscard]] std::string_view host() const noexcept {
    const std::string_view all = origin;
    return all.substr(all.find("://") + 3);
  }
  [[nodiscard]] bool is_tls() const noexcept { return origin.starts_with("https:"); }
  [[nodiscard]] std::string url() const { return origin + target(); }
  // The target on the request line.
  [[nodiscard]] std::string target() const { return query.empty() ? path : path + "?" + query; }
};

// "https://Host:443/base/" as origin "https://host" and path "/base". A missing scheme is https.
// Fails with invalid_argument on user names, queries, fragments, other schemes and bad ports.
struct Endpoint {
  std::string origin;
  std::string base_path;  // empty, or "/base"

  [[nodiscard]] std::string_view host_and_port() const noexcept {
    const std::size_t mark = origin.find("://");
    return mark == std::string::npos ? "" : std::string_view(origin).substr(mark + 3);
  }
  // Without the port; an IPv6 address without its brackets.
  [[nodiscard]] std::string_view host() const noexcept;
  [[nodiscard]] std::string port() const;
  [[nodiscard]] bool is_tls() const noexcept { return origin.starts_with("https:"); }
};
Result<Endpoint> parse_endpoint(std::string_view text);

// "https://host:9000/path?query", path and query unchanged; a missing path is "/". Fails with
// invalid_argument like parse_endpoint() and on fragments, without showing the query.
struct HttpUrl {
  std::string origin;
  std::string path;
  std::string query;

  [[nodiscard]] Endpoint endpoint() const { return Endpoint{origin, ""}; }
};
Result<HttpUrl> parse_url(std::string_view text);
// Resolves the Location of an answer from there, which may be relative.
Result<HttpUrl> resolve_location(const HttpUrl& from, std::string_view location);

// Whether bytes sent there stay secret: TLS, or this machine itself.
[[nodiscard]] bool keeps_secrets(const Endpoint& endpoint) noexcept;

// "name=value&..." of decoded pairs, sorted by encoded name and value, as every signature needs it.
[[nodiscard]] std::string canonical_query(
    std::vector<std::pair<std::string, std::string>> parameters);

// Fails with invalid_argument if value contains a line break or a NUL, which could forge headers.
// what names the value.
Result<void> check_header_value(std::string_view what, std::string_view value);

// Whether host is an IPv4 address or an IPv6 one without brackets.
[[nodiscard]] bool is_ip_address(std::string_view host) noexcept;

}  // namespace streamer::core::inline http
