// SPDX-License-Identifier: Apache-2.0
#include "storage/cache/cached_store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "base/crypto.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "storage/remote_store.hpp"
#include "storage/store_settings.hpp"

namespace streamer::core::inline storage {

namespace {

const char* listing_name(ListDepth depth) {
  return depth == ListDepth::all ? "listing-all" : "listing";
}

// A line for each entry: size, whether it is a folder, ETag and path in hexadecimal.
std::string listing_text(const std::vector<Entry>& entries) {
  std::string text;
  for (const Entry& entry : entries)
    text += fmt::format("{} {:d} {} {}\n", entry.size, entry.is_folder, hex(entry.etag),
                        hex(entry.uri.path()));
  return text;
}

std::optional<std::vector<Entry>> listed_in(const Uri& uri, std::string_view text) {
  std::vector<Entry> entries;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    std::array<std::string_view, 4> fields;
    for (std::string_view& field : fields) {
      const std::size_t blank = std::min(line.find(' '), line.size());
      field = line.substr(0, blank);
      line.remove_prefix(std::min(blank + 1, line.size()));
    }
    const auto size = parse_unsigned(fields[0]);
    const auto etag = from_hex(fields[2]);
    const auto path = from_hex(fields[3]);
    if (!size || !etag || !path) return std::nullopt;
    entries.push_back({uri.with_path(*path), *size, fields[1] == "1", *etag});
  }
  return entries;
}

}  // namespace

Result<std::unique_ptr<Store>> with_cache(std::unique_ptr<Store> store, const Settings& settings) {
  if (store->remote() == nullptr) return store;
  const StoreSettings read = TRY(read_store_settings(settings));
  const auto place = read.get(setting::kCacheWeights);
  if (!place) return store;
  auto cache = TRY(WeightCache::open(*place, read.get(setting::kCacheQueueBytes)));
  if (!cache) return store;
  return std::unique_ptr<Store>(std::make_unique<CachedStore>(std::move(store), std::move(cache),
                                                              read.get(setting::kCacheCheck)));
}

// Empty if it cannot be told where the URI leads: then nothing of it is cached.
std::string CachedStore::identity_of(const Uri& uri) {
  const auto way = store_->remote()->way_to(uri);
  if (!way || way->origin.empty()) return {};
  return cache_identity(way->origin, uri.text(), uri.query());
}

// A URL with a signature in it is always asked: another signature may stand for another object.
bool CachedStore::asks(const Uri& uri) const noexcept {
  return check_ == CacheCheck::etag || !uri.query().empty();
}

std::shared_ptr<CacheEntry> CachedStore::cached(const Object& object) {
  if (object.size == 0 || !is_strong_etag(object.etag)) return nullptr;
  std::string identity = identity_of(object.uri);
  if (identity.empty()) return nullptr;
  return cache_->entry({std::move(identity), object.uri.text(), object.etag, object.size});
}

std::optional<Opened> CachedStore::open_unasked(const Uri& uri, const std::string& identity,
                                                std::uint64_t first_bytes) {
  const auto versions = cache_->folder().versions(identity);
  // Never an older one: other objects of the model may be here in the newest.
  if (versions.empty()) return std::nullopt;
  const CacheKey& key = versions.front();
  const auto entry = cache_->entry(key);
  if (!entry || !entry->is_whole()) return std::nullopt;
  std::vector<std::byte> first(std::min(first_bytes, key.size));
  if (!first.empty() && !entry->read({0, first.size()}, first).is_right) return std::nullopt;
  return Opened{
      {.uri = uri, .size = key.size, .version = {}, .etag = key.etag, .last_modified = {}},
      std::move(first)};
}

Result<Opened> CachedStore::open(const Uri& uri, std::uint64_t first_bytes) {
  const std::string identity = identity_of(uri);
  if (identity.empty()) return store_->open(uri, first_bytes);
  if (!asks(uri)) {
    if (auto opened = open_unasked(uri, identity, first_bytes)) return *std::move(opened);
  }
  // If its first bytes may be here, it is only asked which version it is.
  const bool is_known = first_bytes > 1 && cache_->folder().knows(identity);
  Opened opened = TRY(store_->open(uri, is_known ? 1 : first_bytes));
  auto entry = opened.object.uri.scheme() == uri.scheme() ? cached(opened.object) : nullptr;
  const std::uint64_t wanted = std::min(first_bytes, opened.object.size);
  if (opened.first.size() < wanted) {
    std::vector<std::byte> first(wanted);
    if (entry && entry->read({0, wanted}, first).is_right) {
      opened.first = std::move(first);
      return opened;
    }
    opened = TRY(store_->open(uri, first_bytes));
    entry = opened.object.uri.scheme() == uri.scheme() ? cached(opened.object) : nullptr;
  }
  const std::uint64_t size = opened.object.size;
  if (entry && opened.first.size() >= std::min(size, kCacheBlockBytes))
    cache_->write(entry, 0, opened.first);
  return opened;
}

Result<void> CachedStore::read(const Object& object, ByteRange range, std::span<std::byte> to) {
  const auto entry = cached(object);
  if (entry && !range.empty()) {
    const auto read = entry->read(range, to);
    if (read.is_right) return {};
    if (read.bad_blocks != 0)
      log_line(
          LogLevel::warning,
          fmt::format("{}: the cache does not have what was written to it; it is fetched again",
                      object.uri.text()));
  }
  TRY(store_->read(object, range, to));
  if (entry) cache_->write(entry, range.offset, to);
  return {};
}

// ---- Listings ----

std::optional<std::vector<Entry>> CachedStore::list_unasked(const Uri& uri, ListDepth depth) {
  if (asks(uri)) return std::nullopt;
  const std::string identity = identity_of(uri);
  if (identity.empty()) return std::nullopt;
  const auto text = cache_->folder().read_text(identity, listing_name(depth));
  if (!text) return std::nullopt;
  return listed_in(uri, *text);
}

void CachedStore::keep_listing(const Uri& uri, ListDepth depth, const std::vector<Entry>& entries) {
  const std::string identity = identity_of(uri);
  const bool is_own = std::all_of(entries.begin(), entries.end(), [&](const Entry& entry) {
    return entry.uri.scheme() == uri.scheme();
  });
  if (identity.empty() || !is_own || entries.empty()) return;
  cache_->folder().write_text(identity, listing_name(depth), listing_text(entries));
}

Result<bool> CachedStore::is_folder(const Uri& uri) {
  if (list_unasked(uri, ListDepth::children)) return true;
  if (!asks(uri)) {
    const std::string identity = identity_of(uri);
    if (!identity.empty() && open_unasked(uri, identity, 0)) return false;
  }
  return store_->is_folder(uri);
}

Result<std::vector<Entry>> CachedStore::list(const Uri& uri, ListDepth depth) {
  if (auto entries = list_unasked(uri, depth)) return *std::move(entries);
  auto entries = TRY(store_->list(uri, depth));
  keep_listing(uri, depth, entries);
  return entries;
}

}  // namespace streamer::core::inline storage
