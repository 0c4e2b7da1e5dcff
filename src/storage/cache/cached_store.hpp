// SPDX-License-Identifier: Apache-2.0
#pragma once
// A remote store whose objects are also in the cache: what is there is not fetched again, and what
// is fetched is written there. Loads read the cache themselves (engine/cached_source.hpp) and hand
// it what network readers bring (engine/network_landing.cpp).

#include <memory>
#include <optional>
#include <string>

#include "storage/cache/weight_cache.hpp"
#include "storage/store.hpp"

namespace streamer::core::inline storage {

// The store itself if the settings name no cache, or if it is not remote.
Result<std::unique_ptr<Store>> with_cache(std::unique_ptr<Store> store, const Settings& settings);

class CachedStore final : public Store {
 public:
  // store must be remote.
  CachedStore(std::unique_ptr<Store> store, std::unique_ptr<WeightCache> cache, CacheCheck check)
      : store_(std::move(store)), cache_(std::move(cache)), check_(check) {}

  Result<Opened> open(const Uri& uri, std::uint64_t first_bytes) override;
  Result<bool> is_folder(const Uri& uri) override;
  Result<std::vector<Entry>> list(const Uri& uri, ListDepth depth) override;
  Result<void> read(const Object& object, ByteRange range, std::span<std::byte> to) override;
  Result<StoredChecksum> stored_checksum(const Object& object) override {
    return store_->stored_checksum(object);
  }
  RemoteStore* remote() noexcept override { return store_->remote(); }
  WeightCache* cache() noexcept override { return cache_.get(); }
  std::shared_ptr<CacheEntry> cached(const Object& object) override;

 private:
  [[nodiscard]] std::string identity_of(const Uri& uri);
  [[nodiscard]] bool asks(const Uri& uri) const noexcept;
  std::optional<Opened> open_unasked(const Uri& uri, const std::string& identity,
                                     std::uint64_t first_bytes);
  std::optional<std::vector<Entry>> list_unasked(const Uri& uri, ListDepth depth);
  void keep_listing(const Uri& uri, ListDepth depth, const std::vector<Entry>& entries);

  const std::unique_ptr<Store> store_;
  const std::unique_ptr<WeightCache> cache_;
  const CacheCheck check_;
};

}  // namespace streamer::core::inline storage
