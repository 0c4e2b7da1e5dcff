// SPDX-License-Identifier: Apache-2.0
#pragma once
// S3 and compatible stores.

#include <map>
#include <memory>
#include <string>

#include "auth/aws/sigv4.hpp"
#include "auth/credential_cache.hpp"
#include "base/guarded.hpp"
#include "storage/remote_store.hpp"
#include "storage/s3/config.hpp"
#include "storage/s3/dialect.hpp"
#include "storage/store_clock.hpp"

namespace streamer::core::inline storage {

// Reads the environment and the AWS files now.
Result<std::unique_ptr<Store>> make_s3_store(const Settings& settings);

class S3Store final : public RemoteStore {
 public:
  S3Store(S3Config config, RemoteLimits limits, std::shared_ptr<HttpClient> http);

  Result<SignedRequest> make_range_request(const Uri& uri, ByteRange range,
                                           const std::string& etag) override;
  // FULL_OBJECT checksums only: other checksums of multipart uploads are checksums of checksums.
  Result<StoredChecksum> stored_checksum(const Object& object) override;

 protected:
  Verdict judge_answer(const Uri& uri, const SignedRequest& request,
                       const HttpAnswer& answer) override;
  Result<SignedRequest> page_request(const Uri& folder, ListDepth depth, std::uint64_t most,
                                     const std::string& token) override;
  Result<std::optional<Page>> read_page(const Uri& folder, const HttpAnswer& answer) override;
  Result<RemoteWay> way_to(const Uri& uri) override;
  Result<std::string> describe_credentials(const Uri& uri) override;
  std::string describe_server(const Uri& uri, const HttpAnswer& answer) override;

 private:
  // What was learnt about a bucket.
  struct BucketState {
    std::string region;
    bool is_redirected = false;
    bool must_be_virtual_host = false;
  };

  // Where a custom endpoint redirected a request: another of its machines.
  struct Node {
    HttpUrl url;
    std::uint32_t hops = 0;
  };

  [[nodiscard]] BucketState state_of(const Uri& uri);
  Result<S3Target> target_of(const Uri& uri);
  // With whose keys a request to the target is signed.
  struct Signer {
    CredentialCache<AwsCredentials>& keys;
    std::string service;
    bool in_session = false;
  };
  Signer signer_for(const Uri& uri, const S3Target& target);
  Result<SignedRequest> make_request(std::string method, const Uri& uri, std::string_view key,
                                     Parameters parameters, std::vector<HttpHeader> headers);
  [[nodiscard]] Parameters object_parameters() const;

  // The session of a directory bucket.
  CredentialCache<AwsCredentials>& session_of(const Uri& uri);
  Result<AwsCredentials> create_session(const Uri& uri);

  Verdict judge_code(const Uri& uri, const SignedRequest& request, const HttpAnswer& answer,
                     const ServiceError& error);
  Verdict follow_to_node(const Uri& uri, const SignedRequest& request, const HttpAnswer& answer,
                         Verdict verdict);
  std::optional<Node> take_node(const std::string& method, const Uri& uri);
  // Whether the bucket is in the path at an endpoint that is not AWS'.
  bool is_path_style_elsewhere(const Uri& uri);
  Again follow_region(const Uri& uri, const SignedRequest& request, const HttpAnswer& answer,
                      const ServiceError& error);
  std::string probe_region(std::string_view bucket, const SignedRequest& request);

  const S3Config config_;
  const SigV4Signer signer_;
  CredentialCache<AwsCredentials> credentials_;
  Guarded<std::map<std::string, BucketState, std::less<>>> buckets_;
  Guarded<std::map<std::string, Node>> nodes_;  // by method and URI; for the next request
  StoreClock clock_;
  // By bucket; last: they fetch in the background.
  Guarded<std::map<std::string, std::unique_ptr<CredentialCache<AwsCredentials>>, std::less<>>>
      sessions_;
};

}  // namespace streamer::core::inline storage
