// SPDX-License-Identifier: Apache-2.0
#include "http/curl_fault.hpp"

#include <fmt/format.h>

#include <string_view>

namespace streamer::core::inline http {

namespace {

// A handshake that was cut short may succeed the next time; one that was refused will not.
bool was_cut(std::string_view text) {
  for (const std::string_view sign : {"SYSCALL", "unexpected eof", "eset by peer", "imed out"}) {
    if (text.find(sign) != std::string_view::npos) return true;
  }
  return false;
}

// Servers send the alert in the handshake or, with TLS 1.3, only after it.
bool wants_other_certificate(std::string_view text) {
  return text.find("alert certificate required") != std::string_view::npos ||
         text.find("alert bad certificate") != std::string_view::npos ||
         text.find("alert unknown ca") != std::string_view::npos;
}

TransferFault timeout_fault(CURL* easy) {
  curl_off_t connected = 0;
  curl_off_t secured = 0;
  char* scheme = nullptr;
  curl_easy_getinfo(easy, CURLINFO_CONNECT_TIME_T, &connected);
  curl_easy_getinfo(easy, CURLINFO_APPCONNECT_TIME_T, &secured);
  curl_easy_getinfo(easy, CURLINFO_SCHEME, &scheme);
  if (connected == 0) return TransferFault::unreachable;
  const bool is_tls =
      scheme != nullptr && (scheme[0] == 'h' || scheme[0] == 'H') && scheme[4] != '\0';
  return is_tls && secured == 0 ? TransferFault::handshake : TransferFault::stalled;
}

TransferFault proxy_fault(CURL* easy, TransferFault otherwise) {
  long connect_code = 0;
  curl_easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &connect_code);
  if (connect_code == 0 || connect_code == 200) return otherwise;
  // A gateway's 5xx is temporary; "authenticate" and "forbidden" are not.
  return connect_code >= 500 ? TransferFault::reset : TransferFault::proxy;
}

TransferFault fault_of(CURL* easy, CURLcode code, std::string_view text, bool has_head) {
  if (wants_other_certificate(text)) return TransferFault::untrusted;
  switch (code) {
    case CURLE_OK:
      // libcurl accepts an answer whose head never arrived (only 1xx, for example).
      return has_head ? TransferFault::none : TransferFault::bad_response;
    case CURLE_COULDNT_RESOLVE_HOST:
      return TransferFault::unresolved;
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_PROXY:
      return TransferFault::proxy;
    case CURLE_COULDNT_CONNECT:
      return TransferFault::unreachable;
    case CURLE_OPERATION_TIMEDOUT:
      return timeout_fault(easy);
    case CURLE_SSL_CONNECT_ERROR:
      return was_cut(text) ? TransferFault::handshake : TransferFault::untrusted;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_INVALIDCERTSTATUS:
      return TransferFault::untrusted;
    case CURLE_SSL_CACERT_BADFILE:
      return TransferFault::local;
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
      return proxy_fault(easy, TransferFault::reset);
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
    // libcurl's code for headers that are too long.
    case CURLE_OUT_OF_MEMORY:
      return TransferFault::bad_response;
    default:
      return TransferFault::local;
  }
}

}  // namespace

CurlFault classify_curl(CURL* easy, CURLcode code, const char* text, bool has_head) {
  CurlFault fault;
  const std::string_view detail = *text != '\0' ? text : curl_easy_strerror(code);
  fault.fault = fault_of(easy, code, detail, has_head);
  if (fault.fault != TransferFault::none) fault.text = detail;
  if (wants_other_certificate(detail))
    fault.text +=
        "; the server requires a client certificate: set client_certificate to one that it accepts";
  return fault;
}

}  // namespace streamer::core::inline http
