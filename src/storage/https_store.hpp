// SPDX-License-Identifier: Apache-2.0
#pragma once
// Objects of plain web servers: a model hub, a mirror, a signed URL. One URL is one object; there
// are no listings.

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/guarded.hpp"
#include "storage/remote_config.hpp"
#include "storage/remote_store.hpp"

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
  Result<SignedRequest> range_request(const Uri& uri, ByteRange range,
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
  // Where a URI's host redirects to: a CDN, with a URL that is valid for a while.
  struct Redirect {
    HttpUrl url;
    std::uint32_t hops = 0;
    bool has_served = false;             // the URL has brought bytes
    std::uint32_t useless_renewals = 0;  // in a row, to URLs that did not serve at all
  };

  [[nodiscard]] Redirect redirect_of(const Uri& uri);
  Again follow(const Uri& uri, const SignedRequest& request, const HttpAnswer& answer);

  const HttpsConfig config_;
  Guarded<std::map<std::string, Redirect>> redirects_;  // by text and query of the URI
};

}  // namespace streamer::core::inline storage
