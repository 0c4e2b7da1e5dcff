// SPDX-License-Identifier: Apache-2.0
#pragma once
// Models of a Hugging Face compatible hub, as folders. A revision is pinned to a commit once per
// store, and with that once per opened checkpoint: everything is read from that commit. Listings
// are the hub's tree API, bytes come from its `resolve` URLs, which redirect to signed ones of a
// CDN, or from the cache of the hub's own client.

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/guarded.hpp"
#include "storage/file_store.hpp"
#include "storage/hub/hub_cache.hpp"
#include "storage/hub/hub_config.hpp"
#include "storage/redirects.hpp"
#include "storage/remote_store.hpp"

namespace streamer::core::inline storage {

Result<std::unique_ptr<Store>> make_hub_store(const Settings& settings);

class HubStore final : public RemoteStore {
 public:
  HubStore(HubConfig config, RemoteLimits limits, std::shared_ptr<HttpClient> http)
      : RemoteStore(limits, std::move(http), config.auth),
        config_(std::move(config)),
        cache_(config_.cache.value) {}

  // The object of a cached file is that file: its URI says where.
  Result<Opened> open(const Uri& uri, std::uint64_t first_bytes) override;
  Result<bool> is_folder(const Uri& uri) override;
  Result<std::vector<Entry>> list(const Uri& uri, ListDepth depth) override;
  Result<void> read(const Object& object, ByteRange range, std::span<std::byte> to) override;
  Result<StoredChecksum> stored_checksum(const Object& object) override;

  Result<SignedRequest> make_range_request(const Uri& uri, ByteRange range,
                                           const std::string& etag) override;
  PinnedVersion expected(const Object& object, const SignedRequest& request) override;
  void was_accepted(const Uri& uri, const SignedRequest& request) override;
  Result<RemoteWay> way_to(const Uri& uri) override;
  Result<std::string> describe_credentials(const Uri& uri) override;
  Facts findings(const Uri& uri) override;

 protected:
  Verdict judge_answer(const Uri& uri, const SignedRequest& request,
                       const HttpAnswer& answer) override;
  Result<SignedRequest> page_request(const Uri& folder, ListDepth depth, std::uint64_t most,
                                     const std::string& token) override;
  Result<std::optional<Page>> read_page(const Uri& folder, const HttpAnswer& answer) override;

 private:
  // What a revision was when it was first used.
  struct Pin {
    std::string commit;
    bool is_cached = false;  // only the cache is used
  };
  // What the hub says of a file.
  struct FileFacts {
    std::string etag;
    std::optional<std::uint64_t> size;
  };

  Result<Pin> pin(const HubPlace& place, const Uri& uri);
  Result<Pin> look_up(const HubPlace& place, const Uri& uri);
  Result<std::vector<Entry>> list_cached(const HubPlace& place, const Uri& uri, ListDepth depth,
                                         const Pin& pin);
  [[nodiscard]] std::optional<Uri> cached_file(const HubPlace& place, const Uri& uri,
                                               const Pin& pin);
  [[nodiscard]] HttpUrl url(std::string_view path, std::string query = {}) const;
  // To own, or to where it redirects; with the token if that is the hub itself.
  [[nodiscard]] SignedRequest request_to(HttpUrl own);
  [[nodiscard]] bool is_hub(std::string_view origin) const noexcept {
    return origin == config_.endpoint.origin;
  }
  Error not_cached(const HubPlace& place, const Uri& uri, const Pin* pin) const;
  // false: the hub now says something else of the file than when it was opened.
  bool learn(const Uri& uri, const HttpAnswer& answer);

  const HubConfig config_;
  const HubCache cache_;
  FileStore files_;
  Redirects redirects_;
  Guarded<std::map<std::string, Pin>> pins_;         // by the repository and the revision
  Guarded<std::map<std::string, FileFacts>> facts_;  // by the URI's path
};

}  // namespace streamer::core::inline storage
