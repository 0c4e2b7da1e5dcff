// SPDX-License-Identifier: Apache-2.0
#pragma once
// Azure Blob Storage, through its REST API.

#include <memory>
#include <optional>
#include <string>

#include "auth/azure/context.hpp"
#include "auth/azure/shared_key.hpp"
#include "storage/remote_store.hpp"
#include "storage/store_clock.hpp"

namespace streamer::core::inline storage {

struct AzureConfig {
  std::string account;               // empty: every URI must name it
  std::optional<Endpoint> endpoint;  // replaces the account's own host; with the emulator's path
  std::string suffix = "core.windows.net";
  std::string endpoint_source;
  // The first that is set is used.
  bool is_unsigned = false;
  std::optional<AzureKey> key;
  Secret sas;  // a query, signature and all
  AzureContext auth;
  CredentialCache<BearerToken>::Fetch fetch_token;
  std::string credentials_source;  // of is_unsigned, key and sas
};

// Reads the environment now. Fails on contradictory settings.
Result<AzureConfig> read_azure_config(const Settings& settings, const Environment& environment,
                                      HttpClient& http);
Result<std::unique_ptr<Store>> make_azure_store(const Settings& settings);

class AzureStore final : public RemoteStore {
 public:
  AzureStore(AzureConfig config, RemoteLimits limits, std::shared_ptr<HttpClient> http);

  Result<SignedRequest> make_range_request(const Uri& uri, ByteRange range,
                                           const std::string& etag) override;

 protected:
  Verdict judge_answer(const Uri& uri, const SignedRequest& request,
                       const HttpAnswer& answer) override;
  Result<SignedRequest> page_request(const Uri& folder, ListDepth depth, std::uint64_t most,
                                     const std::string& token) override;
  Result<std::optional<Page>> read_page(const Uri& folder, const HttpAnswer& answer) override;
  Result<RemoteWay> way_to(const Uri& uri) override;
  Result<std::string> describe_credentials(const Uri& uri) override;

 private:
  enum class Access { unsigned_, shared_key, sas, token };

  [[nodiscard]] Access access_to(const Uri& uri) const;
  Result<Endpoint> endpoint_of(const Uri& uri) const;
  Result<SignedRequest> make_request(const Uri& uri, std::string_view blob, std::string query,
                                     std::vector<HttpHeader> headers);

  const AzureConfig config_;
  CredentialCache<BearerToken> tokens_;
  StoreClock clock_;
};

}  // namespace streamer::core::inline storage
