// SPDX-License-Identifier: Apache-2.0
#pragma once
// Objects of plain web servers: a model hub, a mirror, a signed URL. One URL is one object; there
// are no listings.

#include <memory>
#include <optional>
#include <string>

#include "storage/redirects.hpp"
#include "storage/remote_config.hpp"

namespace streamer::core::inline storage {

struct HttpsConfig {
  Secret bearer_token;  // empty: none
  AuthContext auth;
};

Result<std::unique_ptr<Store>> make_https_store(const Settings& settings);

class HttpsStore final : public RemoteStore {
 public:
  HttpsStore(HttpsConfig config, RemoteLimits limits, std::shared_ptr<HttpClient> http)
      : RemoteStore(limits, std::move(http), config.auth), config_(std::move(config)) {}

  Result<bool> is_folder(const Uri& uri) override;
  Result<SignedRequest> make_range_request(const Uri& uri, ByteRange range,
                                           const std::string& etag) override;
  void was_accepted(const Uri& uri, const SignedRequest& request) override;

 protected:
  Verdict judge_answer(const Uri& uri, const SignedRequest& request,
                       const HttpAnswer& answer) override;
  Result<SignedRequest> page_request(const Uri& folder, ListDepth depth, std::uint64_t most,
                                     const std::string& token) override;
  Result<std::optional<Page>> read_page(const Uri& folder, const HttpAnswer& answer) override;
  Result<RemoteWay> way_to(const Uri& uri) override;
  Result<std::string> describe_credentials(const Uri& uri) override;

 private:
  const HttpsConfig config_;
  Redirects redirects_;
};

}  // namespace streamer::core::inline storage
