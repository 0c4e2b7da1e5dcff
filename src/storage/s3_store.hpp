// SPDX-License-Identifier: Apache-2.0
#pragma once
// S3 and what speaks like it.

#include <map>
#include <memory>
#include <string>

#include "auth/credential_cache.hpp"
#include "auth/sigv4.hpp"
#include "base/guarded.hpp"
#include "storage/remote_store.hpp"
#include "storage/s3_config.hpp"

namespace streamer::core {

// Reads the environment and the AWS files now.
Result<std::unique_ptr<Store>> make_s3_store(const Settings& settings);

class S3Store final : public RemoteStore {
 public:
  S3Store(S3Config config, RemoteLimits limits, std::shared_ptr<HttpClient> http);

  Result<bool> is_folder(const Uri& uri) override;
  Result<std::vector<Entry>> list(const Uri& uri, ListDepth depth) override;
  Result<SignedRequest> range_request(const Uri& uri, ByteRange range,
                                      const std::string& etag) override;

  // FULL_OBJECT checksums only: what multipart uploads have else is a sum of sums.
  Result<std::optional<ExpectedChecksum>> stored_checksum(const Object& object) override;
  Result<void> diagnose_way(const Uri& uri, const DoctorReport& report) override;

 protected:
  Verdict judge_answer(const Uri& uri, const SignedRequest& request,
                       const HttpAnswer& answer) override;

 private:
  // What was learnt of a bucket.
  struct BucketState {
    std::string region;
    bool is_redirected = false;
    bool must_be_virtual_host = false;
  };
  // The store's clock, where ours is off: what it said, and when by a clock that nobody sets.
  struct StoreClock {
    SystemTime said{};
    SteadyTime at{};
  };
  struct ServiceError;
  struct Page;
  using Parameters = std::vector<std::pair<std::string, std::string>>;

  [[nodiscard]] BucketState state_of(std::string_view bucket);
  [[nodiscard]] SystemTime store_time();
  Result<S3Target> target_of(const Uri& uri);
  Result<AwsCredentials> credentials();
  Result<SignedRequest> make_request(std::string method, std::string_view bucket,
                                     std::string_view key, Parameters parameters,
                                     std::vector<HttpHeader> headers);
  Result<Page> fetch_page(const Uri& folder, std::string_view delimiter, std::uint64_t most_keys,
                          const std::string& token);

  Verdict judge_code(const Uri& uri, const SignedRequest& request, const HttpAnswer& answer,
                     const ServiceError& error);
  Again renew_credentials(const SignedRequest& request);
  Again correct_clock(const SignedRequest& request, const HttpAnswer& answer);
  Again follow_region(std::string_view bucket, const SignedRequest& request,
                      const HttpAnswer& answer, const ServiceError& error);
  std::string probe_region(std::string_view bucket, const SignedRequest& request);

  const S3Config config_;
  const SigV4Signer signer_;
  CredentialCache<AwsCredentials> credentials_;
  Guarded<std::map<std::string, BucketState, std::less<>>> buckets_;
  Guarded<std::optional<StoreClock>> clock_;
};

}  // namespace streamer::core
