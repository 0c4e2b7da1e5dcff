// SPDX-License-Identifier: Apache-2.0
#pragma once
// The kinds of stores, as they are seen from the wire: who may ask is checked from the
// specifications and the bytes that came, not by the code that is tested.

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <string>

#include "base/crypto.hpp"
#include "base/json.hpp"
#include "base/timestamp.hpp"
#include "support/wire_server.hpp"

namespace streamer::test {

enum class Dialect { s3, google, azure, https, hub };

// What STREAMER_TEST_DIALECT says, so that the same tests run for each.
inline Dialect dialect_under_test() {
  const char* const value = std::getenv("STREAMER_TEST_DIALECT");
  const std::string_view name = value == nullptr ? "s3" : value;
  if (name == "google") return Dialect::google;
  if (name == "azure") return Dialect::azure;
  if (name == "https") return Dialect::https;
  if (name == "hub") return Dialect::hub;
  REQUIRE(name == "s3");
  return Dialect::s3;
}

// Of a caller. For S3 keys and a session; for Azure an account and its key, in base64; a bearer
// token for all but S3.
struct StoreKey {
  std::string id = "testkeyid";
  std::string secret = "dGVzdC9zZWNyZXQra2V5";
  std::string token;

  // Of s3_credentials.
  [[nodiscard]] std::string as_setting() const { return "keys:" + id + ":" + secret; }
};

// An RSA key that no one else has: made when it is first needed.
class TestKey {
 public:
  static const TestKey& instance() {
    static const auto* const key = new TestKey;
    return *key;
  }

  const std::string& pem() const { return pem_; }

  bool has_signed(std::string_view text, std::string_view signature) const {
    EVP_MD_CTX* const context = EVP_MD_CTX_new();
    const bool is_right =
        EVP_DigestVerifyInit(context, nullptr, EVP_sha256(), nullptr, key_) == 1 &&
        EVP_DigestVerify(context, reinterpret_cast<const unsigned char*>(signature.data()),
                         signature.size(), reinterpret_cast<const unsigned char*>(text.data()),
                         text.size()) == 1;
    EVP_MD_CTX_free(context);
    return is_right;
  }

 private:
  TestKey() : key_(EVP_RSA_gen(2048)) {
    BIO* const bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, key_, nullptr, nullptr, 0, nullptr, nullptr);
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    pem_.assign(data, static_cast<std::size_t>(size));
    BIO_free(bio);
  }

  EVP_PKEY* const key_;
  std::string pem_;
};

inline std::string decode_base64url(std::string text) {
  std::replace(text.begin(), text.end(), '-', '+');
  std::replace(text.begin(), text.end(), '_', '/');
  text.append((4 - text.size() % 4) % 4, '=');
  return core::base64_decode(text).value_or("");
}

// A JWT of the test's key: its claims, as "name" -> text or digits. Empty if it is not signed by
// that key.
inline std::map<std::string, std::string> claims_of(const std::string& jwt) {
  const std::size_t first = jwt.find('.');
  const std::size_t second = jwt.find('.', first + 1);
  if (first == std::string::npos || second == std::string::npos) return {};
  if (!TestKey::instance().has_signed(jwt.substr(0, second),
                                      decode_base64url(jwt.substr(second + 1))))
    return {};
  std::map<std::string, std::string> claims;
  const core::JsonText text(decode_base64url(jwt.substr(first + 1, second - first - 1)));
  static_cast<void>(core::read_json(text, [&](core::JsonValue& top) {
                      return top.members(
                          [&](std::string_view name, core::JsonValue& value) -> core::Result<void> {
                            const auto kind = value.kind();
                            if (kind && *kind == core::JsonKind::number)
                              claims[std::string(name)] = std::to_string(*value.unsigned_integer());
                            if (kind && *kind == core::JsonKind::string)
                              claims[std::string(name)] = *value.string();
                            return {};
                          });
                    }).has_value());
  return claims;
}

// A service account's own JWT, good for reading now.
inline bool may_read_google(const std::string& jwt) {
  auto claims = claims_of(jwt);
  const auto now = std::chrono::duration_cast<std::chrono::seconds>(
                       std::chrono::system_clock::now().time_since_epoch())
                       .count();
  const auto number = [&](const char* name) {
    return static_cast<std::int64_t>(core::parse_unsigned(claims[name]).value_or(0));
  };
  return claims["iss"] == "reader@test.iam" && claims["sub"] == claims["iss"] &&
         claims["scope"] == "https://www.googleapis.com/auth/devstorage.read_only" &&
         number("iat") <= now + 5 && number("exp") > now && number("exp") - number("iat") <= 3600;
}

// What the file of that service account holds.
inline std::string service_account_file(const std::string& more = "") {
  return fmt::format(
      R"({{"type":"service_account","client_email":"reader@test.iam","private_key_id":"k1",)"
      R"("private_key":{}{}}})",
      core::quote_json(TestKey::instance().pem()), more);
}

// The signature of AWS that a request should carry.
inline std::string aws_signature(const WireRequest& request, const std::string& secret,
                                 const std::string& scope, const std::string& signed_headers) {
  std::vector<std::string> parameters;
  for (std::size_t at = 0; at < request.query.size();) {
    const std::size_t end = std::min(request.query.find('&', at), request.query.size());
    parameters.push_back(request.query.substr(at, end - at));
    at = end + 1;
  }
  std::sort(parameters.begin(), parameters.end());
  std::string query;
  for (const std::string& parameter : parameters)
    query += (query.empty() ? "" : "&") + parameter;
  std::string lines;
  for (std::size_t at = 0; at < signed_headers.size();) {
    const std::size_t end = std::min(signed_headers.find(';', at), signed_headers.size());
    const std::string name = signed_headers.substr(at, end - at);
    lines += name + ":" + request.header(name) + "\n";
    at = end + 1;
  }
  const std::string hash = core::hex(core::as_text(core::sha256(request.body)));
  const std::string canonical = request.method + "\n" + request.path + "\n" + query + "\n" + lines +
                                "\n" + signed_headers + "\n" + hash;
  const std::string to_sign = "AWS4-HMAC-SHA256\n" + request.header("x-amz-date") + "\n" + scope +
                              "\n" + core::hex(core::as_text(core::sha256(canonical)));
  std::string key = "AWS4" + secret;
  std::string rest = scope;
  while (!rest.empty()) {
    const std::size_t slash = std::min(rest.find('/'), rest.size());
    key = std::string(core::as_text(core::hmac_sha256(key, rest.substr(0, slash))));
    rest.erase(0, std::min(slash + 1, rest.size()));
  }
  return core::hex(core::as_text(core::hmac_sha256(key, to_sign)));
}

// The signature of Azure that a GET or HEAD should carry.
inline std::string azure_signature(const WireRequest& request, const StoreKey& key) {
  std::string text = request.method + "\n\n\n\n\n\n\n\n" + request.header("if-match") + "\n\n\n" +
                     request.header("range") + "\n";
  for (const auto& [name, value] : request.headers) {
    if (name.starts_with("x-ms-")) text += name + ":" + value + "\n";
  }
  text += "/" + key.id + request.path;
  std::set<std::string> parameters;
  for (std::size_t at = 0; at < request.query.size();) {
    const std::size_t end = std::min(request.query.find('&', at), request.query.size());
    const std::string one = request.query.substr(at, end - at);
    const std::size_t mark = one.find('=');
    parameters.insert("\n" + one.substr(0, mark) + ":" +
                      core::percent_decode(one.substr(mark + 1)).value_or("?"));
    at = end + 1;
  }
  for (const std::string& parameter : parameters)
    text += parameter;
  return core::base64_encode(
      core::as_text(core::hmac_sha256(core::base64_decode(key.secret).value_or(""), text)));
}

// What each store calls what S3 calls so.
inline std::string code_in(Dialect dialect, const std::string& s3_code) {
  if (dialect == Dialect::https) return "";
  if (dialect == Dialect::hub) return s3_code == "NoSuchKey" ? "EntryNotFound" : "";
  if (dialect != Dialect::azure) return s3_code;
  const std::map<std::string, std::string> codes = {
      {"SlowDown", "ServerBusy"},
      {"ServiceUnavailable", "ServerBusy"},
      {"NoSuchKey", "BlobNotFound"},
      {"AccessDenied", "AuthorizationPermissionMismatch"},
      {"PreconditionFailed", "ConditionNotMet"},
      {"SignatureDoesNotMatch", "AuthenticationFailed"},
      {"InvalidAccessKeyId", "AuthenticationFailed"},
      {"RequestTimeTooSkewed", "AuthenticationFailed"},
      {"AuthenticationRequired", "InvalidAuthenticationInfo"},
  };
  const auto found = codes.find(s3_code);
  return found == codes.end() ? s3_code : found->second;
}

}  // namespace streamer::test
