// SPDX-License-Identifier: Apache-2.0
#include "http/request.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>

#include "base/clean_text.hpp"
#include "base/text.hpp"

namespace streamer::core::inline http {

namespace {

Error bad_endpoint(std::string_view text, std::string_view why) {
  return Error(ErrorKind::invalid_argument,
               fmt::format("\"{}\" is not a usable endpoint: {}; write it as https://HOST, or as "
                           "http://HOST:PORT for a server without TLS",
                           url_without_secrets(text), why));
}

// "name", "10.0.0.1" or "[::1]", with or without ":port".
bool is_host(std::string_view authority) {
  if (authority.starts_with("[")) {
    const std::size_t end = authority.find(']');
    if (end == std::string_view::npos) return false;
    const std::string_view behind = authority.substr(end + 1);
    return (behind.empty() || behind.starts_with(":")) &&
           is_ip_address(authority.substr(1, end - 1));
  }
  const std::string_view name = authority.substr(0, authority.find(':'));
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
  });
}

}  // namespace

std::string_view Endpoint::host() const noexcept {
  const std::string_view all = host_and_port();
  if (all.starts_with("[")) return all.substr(1, all.find(']') - 1);
  return all.substr(0, all.find(':'));
}

std::string Endpoint::port() const {
  const std::string_view all = host_and_port();
  const std::size_t bracket = all.find(']');
  const std::size_t colon = all.find(':', bracket == std::string_view::npos ? 0 : bracket);
  if (colon != std::string_view::npos) return std::string(all.substr(colon + 1));
  return is_tls() ? "443" : "80";
}

Result<Endpoint> parse_endpoint(std::string_view text) {
  text = trim(text);
  std::string scheme = "https";
  std::string_view rest = text;
  if (const std::size_t mark = text.find("://"); mark != std::string_view::npos) {
    scheme = to_lower(text.substr(0, mark));
    rest = text.substr(mark + 3);
  } else if (const std::string all = to_lower(text);
             all.starts_with("http:/") || all.starts_with("http/") || all.starts_with("https:/") ||
             all.starts_with("https/")) {
    return bad_endpoint(text, "a colon and two slashes must follow its scheme");
  }
  if (scheme != "https" && scheme != "http")
    return bad_endpoint(text, "its scheme is neither https nor http");
  if (rest.find_first_of("?#") != std::string_view::npos)
    return bad_endpoint(text, "it has a query or a fragment");
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  const std::string authority = to_lower(rest.substr(0, slash));
  std::string_view base_path = rest.substr(slash);
  while (base_path.ends_with("/"))
    base_path.remove_suffix(1);
  if (authority.find('@') != std::string::npos)
    return bad_endpoint(text, "user name and password do not belong there");
  for (const char c : authority + std::string(base_path)) {
    if (static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) >= 0x7F)
      return bad_endpoint(text,
                          "it holds white space, a control character or a non-ASCII character");
  }
  Endpoint endpoint{scheme + "://" + authority, std::string(base_path)};
  if (!is_host(authority)) return bad_endpoint(text, "it names no host");
  const auto port = parse_unsigned(endpoint.port());
  if (!port || *port == 0 || *port > 65535) return bad_endpoint(text, "its port is not valid");
  const bool is_default = *port == (endpoint.is_tls() ? 443U : 80U);
  const bool is_written = endpoint.origin.ends_with(fmt::format(":{}", endpoint.port()));
  // libcurl omits a default port from the Host header, so the signature must omit it too.
  if (is_default && is_written) endpoint.origin.resize(endpoint.origin.rfind(':'));
  return endpoint;
}

Result<HttpUrl> parse_url(std::string_view text) {
  text = trim(text);
  const std::size_t mark = std::min(text.find('?'), text.size());
  const std::size_t scheme = text.find("://");
  const std::size_t slash = text.find('/', scheme == std::string_view::npos ? 0 : scheme + 3);
  const std::string_view before = text.substr(0, mark);
  // parse_endpoint() would trim it; before a query it would be sent.
  if (trim(before).size() != before.size()) return bad_endpoint(before, "it holds white space");
  const Endpoint endpoint = TRY(parse_endpoint(before));
  HttpUrl url{endpoint.origin, "/", ""};
  if (slash < mark) url.path = std::string(before.substr(slash));
  if (mark < text.size()) url.query = std::string(text.substr(mark + 1));
  for (const char c : url.query) {
    if (static_cast<unsigned char>(c) > 0x20 && static_cast<unsigned char>(c) < 0x7F && c != '#')
      continue;
    return bad_endpoint(before, "its query holds white space, a fragment or a non-ASCII character");
  }
  return url;
}

Result<HttpUrl> resolve_location(const HttpUrl& from, std::string_view location) {
  const std::size_t scheme = location.find("://");
  if (scheme != std::string_view::npos && location.find_first_of("/?#") > scheme)
    return parse_url(location);
  if (location.starts_with("?")) return parse_url(from.origin + from.path + std::string(location));
  if (location.starts_with("//"))
    return parse_url(from.origin.substr(0, from.origin.find(':') + 1) + std::string(location));
  if (location.starts_with("/")) return parse_url(from.origin + std::string(location));
  const std::string folder = from.path.substr(0, from.path.rfind('/') + 1);
  return parse_url(from.origin + folder + std::string(location));
}

bool keeps_secrets(const Endpoint& endpoint) noexcept {
  const std::string_view host = endpoint.host();
  return endpoint.is_tls() || host == "localhost" || host == "::1" ||
         (host.starts_with("127.") && is_ip_address(host));
}

std::string canonical_query(std::vector<std::pair<std::string, std::string>> parameters) {
  for (auto& [name, value] : parameters) {
    name = percent_encode(name);
    value = percent_encode(value);
  }
  std::sort(parameters.begin(), parameters.end());
  std::string query;
  for (const auto& [name, value] : parameters)
    query += fmt::format("{}{}={}", query.empty() ? "" : "&", name, value);
  return query;
}

Result<void> check_header_value(std::string_view what, std::string_view value) {
  constexpr std::string_view kForging("\r\n\0", 3);
  if (value.find_first_of(kForging) == std::string_view::npos) return {};
  return Error(ErrorKind::invalid_argument,
               fmt::format("{} holds a line break or a NUL byte, and cannot be sent", what));
}

bool is_ip_address(std::string_view host) noexcept {
  unsigned char address[16];
  const std::string text(host.substr(0, host.find('%')));
  return ::inet_pton(AF_INET, text.c_str(), address) == 1 ||
         ::inet_pton(AF_INET6, text.c_str(), address) == 1;
}

}  // namespace streamer::core::inline http
