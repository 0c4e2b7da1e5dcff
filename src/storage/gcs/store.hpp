// SPDX-License-Identifier: Apache-2.0
#pragma once
// Google Cloud Storage, through its XML API; emulators that have none, through the JSON API.

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "auth/aws/sigv4.hpp"
#include "auth/gcp/context.hpp"
#include "storage/gcs/json.hpp"
#include "storage/remote_store.hpp"
#include "storage/s3/dialect.hpp"
#include "storage/store_clock.hpp"

namespace streamer::core::inline storage {

struct GcsConfig {
  Endpoint endpoint;
  std::string endpoint_source;
  bool is_endpoint_given = false;  // otherwise Google's own, in the credentials' universe
  bool is_unsigned = false;
  std::string unsigned_source;
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

  // Of the JSON API: two requests, because the bytes come without a version that means something.
  Result<Opened> open(const Uri& uri, std::uint64_t first_bytes) override;
  Result<SignedRequest> make_range_request(const Uri& uri, ByteRange range,
                                           const std::string& etag) override;
  PinnedVersion expected(const Object& object, const SignedRequest& request) override;
  Facts findings(const Uri& uri) override;
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

  // Whether the endpoint of uri may be an emulator's.
  [[nodiscard]] bool may_be_emulator(const Uri& uri) const noexcept;
  // relaxed: whoever asks the API that is not there is told so, and asks again.
  [[nodiscard]] bool uses_json(const Uri& uri) const noexcept {
    const Api api = api_.load(std::memory_order_relaxed);
    return may_be_emulator(uri) && (api == Api::json || api == Api::maybe_json);
  }
  // After an answer that is not the XML API's, or not all of it. Whether requests now go to the
  // JSON API.
  bool turn_to_json(const Uri& uri, std::string_view why);
  // An answer was that API's.
  void note_xml() noexcept;
  void note_json() noexcept;
  Result<GcsJsonObject> json_object(const Uri& uri);
  Result<Opened> open_by_json(const Uri& uri, std::uint64_t first_bytes);
  Result<StoredChecksum> json_checksum(const Object& object);
  Verdict judge_json(const SignedRequest& request, const HttpAnswer& answer);

  const GcsConfig config_;
  const Endpoint googles_own_{"https://storage.googleapis.com", ""};
  const SigV4Signer signer_;
  CredentialCache<BearerToken> tokens_;
  StoreClock clock_;
  // Which API answers at the endpoint of the configuration; learnt once. maybe_json: not XML's, but
  // no answer was JSON's so far.
  enum class Api : std::uint8_t { unknown, xml, maybe_json, json };
  std::atomic<Api> api_{Api::unknown};
};

}  // namespace streamer::core::inline storage
