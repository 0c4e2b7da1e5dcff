// SPDX-License-Identifier: Apache-2.0
#pragma once
// The answer to one request.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/request.hpp"

namespace streamer::core::inline http {

// Status and headers of the final answer, without those of 1xx answers and of proxies.
struct ResponseHead {
  int status = 0;
  std::vector<HttpHeader> headers;  // names in lower case, values trimmed

  // The first value of a header, by its name in lower case; nullopt if it was not sent.
  [[nodiscard]] std::optional<std::string_view> header(std::string_view name) const noexcept {
    for (const HttpHeader& header : headers) {
      if (header.name == name) return header.value;
    }
    return std::nullopt;
  }
  [[nodiscard]] std::string_view header_or_empty(std::string_view name) const noexcept {
    return header(name).value_or(std::string_view());
  }
  [[nodiscard]] std::size_t count(std::string_view name) const noexcept {
    return static_cast<std::size_t>(std::count_if(
        headers.begin(), headers.end(), [&](const HttpHeader& h) { return h.name == name; }));
  }
};

// Why a request got no complete answer. HTTP statuses (404, 503) are not faults of the transfer.
enum class TransferFault : std::uint8_t {
  none,
  unresolved,    // the host's name has no address
  unreachable,   // no connection: refused, no route, timed out
  untrusted,     // the certificate was not trusted; trying again does not help
  handshake,     // the TLS handshake broke off or failed
  reset,         // the connection ended before the answer did
  stalled,       // no byte for too long
  bad_response,  // this is not HTTP, or not within its bounds
  proxy,         // the proxy refused
  stopped,       // the sink refused more bytes
  local,         // this process: no memory, no file descriptor, an unreadable CA bundle
};

// A complete answer whose body was kept.
struct HttpAnswer {
  ResponseHead head;
  std::string body;  // up to the request's limit
};

}  // namespace streamer::core::inline http
