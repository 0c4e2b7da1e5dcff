// SPDX-License-Identifier: Apache-2.0
#pragma once
// Google Cloud Storage, through its XML API.

#include <memory>
#include <optional>
#include <string>

#include "auth/aws/sigv4.hpp"
#include "auth/gcp/context.hpp"
#include "storage/remote_store.hpp"
#include "storage/s3/dialect.hpp"
#include "storage/store_clock.hpp"

namespace streamer::core::inline storage {

struct GcsConfig {
  Endpoint endpoint;
  std::string endpoint_source;
  bool is_endpoint_given = false;  // otherwise Google's own, in the credentials' universe
  bool is_unsigned = false;
  std::optional<AwsCredentials> hmac;  // instead of tokens
  std::string user_project;            // who is charged; empty: the bucket's owner
  GcpContext auth;
  CredentialCache<BearerToken>::Fetch fetch_token;
};

// Reads the environment now. Fails on contradictory settings.
Result<GcsConfig> read_gcs_config(const Settings& settings, const Environment& environment,
                                  HttpClient& http);
Result<std::unique_ptr<Store>> make_gcs_store(const Settings& settings);

class GcsStore final : public RemoteStore {
 public:
  GcsStore(GcsConfig config, RemoteLimits limits, std::shared_ptr<HttpClient> http);

  Result<SignedRequest> range_request(const Uri& uri, ByteRange range,
                                      const std::string& etag) override;
  // x-goog-hash: the CRC32C of the whole object, which every object has.
  Result<StoredChecksum> stored_checksum(const Object& object) override;

 protected:
  Verdict judge_answer(const Uri& uri, const SignedRequest& request,
                       const HttpAnswer& answer) override;
  Result<SignedRequest> page_request(const Uri& folder, ListDepth depth, std::uint64_t most,
                                     const std::string& token) override;
  Result<std::optional<Page>> read_page(const Uri& folder, const HttpAnswer& answer) override;
  Result<RemoteWay> way_to(const Uri& uri) override;
  Result<std::string> describe_credentials(const Uri& uri) override;

 private:
  [[nodiscard]] const Endpoint& endpoint_of(const Uri& uri) const;
  Result<SignedRequest> make_request(std::string method, const Uri& uri, std::string_view key,
                                     Parameters parameters, std::vector<HttpHeader> headers);

  const GcsConfig config_;
  const Endpoint googles_own_{"https://storage.googleapis.com", ""};
  const SigV4Signer signer_;
  CredentialCache<BearerToken> tokens_;
  StoreClock clock_;
};

}  // namespace streamer::core::inline storage
