// SPDX-License-Identifier: Apache-2.0
#include "http/proxy.hpp"

#include <arpa/inet.h>

#include <array>
#include <cstring>

#include "base/text.hpp"

namespace streamer::core::inline http {

namespace {

struct IpAddress {
  std::array<unsigned char, 16> bytes{};
  std::size_t size = 0;  // 4 or 16; 0: no address
};

IpAddress parse_ip(std::string_view text) {
  IpAddress address;
  const std::string copy(text);
  if (::inet_pton(AF_INET, copy.c_str(), address.bytes.data()) == 1) {
    address.size = 4;
  } else if (::inet_pton(AF_INET6, copy.c_str(), address.bytes.data()) == 1) {
    address.size = 16;
  }
  return address;
}

bool is_in_block(const IpAddress& host, std::string_view block) {
  const std::size_t slash = block.find('/');
  const IpAddress network = parse_ip(block.substr(0, slash));
  if (network.size == 0 || network.size != host.size) return false;
  std::uint64_t bits = network.size * 8;
  if (slash != std::string_view::npos) {
    const auto given = parse_unsigned(block.substr(slash + 1));
    if (!given || *given > bits) return false;
    bits = *given;
  }
  const std::size_t whole = bits / 8;
  if (std::memcmp(host.bytes.data(), network.bytes.data(), whole) != 0) return false;
  if (bits % 8 == 0) return true;
  const auto mask = static_cast<unsigned char>(0xFF << (8 - bits % 8));
  return ((host.bytes[whole] ^ network.bytes[whole]) & mask) == 0;
}

}  // namespace

bool is_excluded_by(std::string_view no_proxy, std::string_view host) {
  const std::string lower = to_lower(host);
  const IpAddress address = parse_ip(lower);
  while (!no_proxy.empty()) {
    const std::size_t end = std::min(no_proxy.find_first_of(", "), no_proxy.size());
    std::string entry = to_lower(trim(no_proxy.substr(0, end)));
    no_proxy.remove_prefix(std::min(end + 1, no_proxy.size()));
    if (entry == "*") return true;
    if (entry.empty()) continue;
    if (address.size != 0) {
      if (entry.front() == '[' && entry.back() == ']') entry = entry.substr(1, entry.size() - 2);
      if (is_in_block(address, entry)) return true;
      continue;
    }
    if (entry.front() == '.') entry.erase(0, 1);
    const bool is_domain = lower.size() > entry.size() && lower.ends_with(entry) &&
                           lower[lower.size() - entry.size() - 1] == '.';
    if (lower == entry || is_domain) return true;
  }
  return false;
}

std::string proxy_for(const Endpoint& endpoint, const Environment& environment) {
  const auto first_of = [&](std::initializer_list<const char*> names) -> std::string {
    for (const char* name : names) {
      if (auto value = environment(name)) return *std::move(value);
    }
    return {};
  };
  // HTTP_PROXY is left out on purpose: see the header.
  std::string proxy = endpoint.is_tls()
                          ? first_of({"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"})
                          : first_of({"http_proxy", "all_proxy", "ALL_PROXY"});
  if (proxy.empty() || is_excluded_by(first_of({"no_proxy", "NO_PROXY"}), endpoint.host()))
    return {};
  return proxy;
}

}  // namespace streamer::core::inline http
