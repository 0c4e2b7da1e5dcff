// SPDX-License-Identifier: Apache-2.0
#pragma once
// AWS Signature Version 4 in headers. Pure but for the cache of the signing key.

#include <string>
#include <string_view>

#include "auth/aws/credentials.hpp"
#include "base/crypto.hpp"
#include "base/guarded.hpp"
#include "http/request.hpp"

namespace streamer::core::inline auth {

struct SigningScope {
  std::string region;
  std::string service;  // "s3", "s3express", "sts"

  friend bool operator==(const SigningScope&, const SigningScope&) = default;
};

// Of an empty body.
inline constexpr std::string_view kEmptySha256 =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

// Steps of the signature, each as the specification names it.
[[nodiscard]] std::string canonical_request(const HttpRequest& request, std::string_view path,
                                            std::string_view payload_hash,
                                            std::string* signed_headers_out);
[[nodiscard]] Sha256Digest signing_key(std::string_view secret, std::string_view date,
                                       const SigningScope& scope);

// Thread-safe.
class SigV4Signer {
 public:
  // Adds x-amz-date, x-amz-security-token if there is a session, for S3 x-amz-content-sha256, and
  // Authorization. Signs Host and every header that is there but those that proxies may change.
  void sign(HttpRequest& request, const AwsCredentials& credentials, const SigningScope& scope,
            SystemTime now) const;

 private:
  // The key depends on the secret, the day and the scope only.
  struct CachedKey {
    Secret secret;
    std::string date;
    SigningScope scope;
    Sha256Digest key{};
  };
  mutable Guarded<CachedKey> cached_;
};

}  // namespace streamer::core::inline auth
