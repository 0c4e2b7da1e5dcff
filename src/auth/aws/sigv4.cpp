// SPDX-License-Identifier: Apache-2.0
#include "auth/aws/sigv4.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "base/text.hpp"

namespace streamer::core::inline auth {

namespace {

// Proxies and load balancers add or change these. accept-encoding: Google's front end rewrites it.
constexpr std::array<std::string_view, 13> kNeverSigned = {
    "accept-encoding",
    "authorization",
    "connection",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "te",
    "proxy-authorization",
    "trailer",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "user-agent",
};

bool is_signed(std::string_view name) {
  return std::find(kNeverSigned.begin(), kNeverSigned.end(), name) == kNeverSigned.end() &&
         name != "x-amzn-trace-id";
}

// Trimmed, with runs of spaces made one.
std::string canonical_value(std::string_view value) {
  std::string canonical;
  for (const char c : trim(value)) {
    if (c == ' ' && canonical.ends_with(' ')) continue;
    canonical += c;
  }
  return canonical;
}

}  // namespace

std::string canonical_request(const HttpRequest& request, std::string_view path,
                              std::string_view payload_hash, std::string* signed_headers_out) {
  std::map<std::string, std::string> headers;
  headers["host"] = request.host();
  for (const HttpHeader& header : request.headers) {
    const std::string name = to_lower(header.name);
    if (!is_signed(name)) continue;
    std::string& value = headers[name];
    if (!value.empty()) value += ',';
    value += canonical_value(header.value);
  }
  std::string lines;
  std::string names;
  for (const auto& [name, value] : headers) {
    lines += fmt::format("{}:{}\n", name, value);
    names += fmt::format("{}{}", names.empty() ? "" : ";", name);
  }
  *signed_headers_out = names;
  return fmt::format("{}\n{}\n{}\n{}\n{}\n{}", request.method, path, request.query, lines, names,
                     payload_hash);
}

Sha256Digest signing_key(std::string_view secret, std::string_view date,
                         const SigningScope& scope) {
  const Secret first(fmt::format("AWS4{}", secret));
  Sha256Digest key = hmac_sha256(first.reveal(), date);
  key = hmac_sha256(as_text(key), scope.region);
  key = hmac_sha256(as_text(key), scope.service);
  return hmac_sha256(as_text(key), "aws4_request");
}

void SigV4Signer::sign(HttpRequest& request, const AwsCredentials& credentials,
                       const SigningScope& scope, SystemTime now) const {
  const bool is_s3 = scope.service == "s3" || scope.service == "s3express";
  const std::string time = format_basic_iso(now);
  const std::string date = time.substr(0, 8);
  // Range requests have no body; its constant hash works with every store, over http too.
  const std::string payload_hash =
      request.body.empty() ? std::string(kEmptySha256) : hex(as_text(sha256(request.body)));
  request.headers.push_back({"x-amz-date", time});
  if (is_s3) request.headers.push_back({"x-amz-content-sha256", payload_hash});
  if (!credentials.session_token.empty()) {
    request.headers.push_back(
        {"x-amz-security-token", std::string(credentials.session_token.reveal())});
  }
  // Only S3 signs the path as it is sent; other services encode it once more.
  const std::string path = is_s3 ? request.path : percent_encode(request.path, "/");
  std::string signed_headers;
  const std::string canonical = canonical_request(request, path, payload_hash, &signed_headers);
  const std::string scope_text =
      fmt::format("{}/{}/{}/aws4_request", date, scope.region, scope.service);
  const std::string to_sign = fmt::format("AWS4-HMAC-SHA256\n{}\n{}\n{}", time, scope_text,
                                          hex(as_text(sha256(canonical))));
  const Sha256Digest key = cached_.with([&](CachedKey& cached) {
    if (cached.secret != credentials.secret_access_key || cached.date != date ||
        cached.scope != scope) {
      cached = {credentials.secret_access_key, date, scope,
                signing_key(credentials.secret_access_key.reveal(), date, scope)};
    }
    return cached.key;
  });
  request.headers.push_back(
      {"Authorization",
       fmt::format("AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={}, Signature={}",
                   credentials.access_key_id, scope_text, signed_headers,
                   hex(as_text(hmac_sha256(as_text(key), to_sign))))});
}

}  // namespace streamer::core::inline auth
