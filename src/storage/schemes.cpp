// SPDX-License-Identifier: Apache-2.0
// The only table of schemes: which store reads which URIs.
#include <fmt/format.h>

#include "base/log_environment.hpp"
#include "storage/azure_settings.hpp"
#include "storage/azure_store.hpp"
#include "storage/cache/cache_settings.hpp"
#include "storage/cache/cached_store.hpp"
#include "storage/file_store.hpp"
#include "storage/gcs/gcs_settings.hpp"
#include "storage/gcs/store.hpp"
#include "storage/https_settings.hpp"
#include "storage/https_store.hpp"
#include "storage/hub/hf_settings.hpp"
#include "storage/hub/hub_store.hpp"
#include "storage/remote_settings.hpp"
#include "storage/s3/s3_settings.hpp"
#include "storage/s3/store.hpp"
#include "storage/store.hpp"
#include "storage/store_settings.hpp"

namespace streamer::core::inline storage {

namespace {

using MadeStore = Result<std::unique_ptr<Store>>;

MadeStore make_file_store(const Settings&) {
  return std::unique_ptr<Store>(std::make_unique<FileStore>());
}

struct SchemeRow {
  std::string_view scheme;
  MadeStore (*make)(const Settings& settings);
};

constexpr SchemeRow kSchemes[] = {
    {"file", make_file_store}, {"s3", make_s3_store},       {"gs", make_gcs_store},
    {"az", make_azure_store},  {"https", make_https_store}, {"http", make_https_store},
    {"hf", make_hub_store},
};

Result<const SchemeRow*> find_scheme(const Uri& uri) {
  std::string known;
  for (const SchemeRow& row : kSchemes) {
    if (row.scheme == uri.scheme()) return &row;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", row.scheme);
  }
  return Error(ErrorKind::unsupported,
               fmt::format("this version does not read {}:// URIs; it reads: {}; a store with the "
                           "interface of S3 is read as s3://BUCKET/KEY, with s3_endpoint set",
                           uri.scheme(), known))
      .at(uri.text());
}

}  // namespace

SettingRows store_settings() {
  static const auto all = joined({kRemoteSettings, kCacheSettings, kS3Settings, kGcsSettings,
                                  kAzureSettings, kHttpsSettings, kHfSettings});
  return all;
}

std::shared_ptr<CacheEntry> Store::cached(const Object&) {
  return nullptr;
}

// Everything that reads or lists calls this first.
Stores::Stores(Settings settings, UseCache use_cache)
    : settings_(std::move(settings)), use_cache_(use_cache) {
  follow_log_environment();
}

void Stores::add(std::string scheme, std::shared_ptr<Store> store) {
  added_.with([&](std::vector<Added>& added) {
    added.push_back({std::move(scheme), std::move(store)});
  });
}

Result<Store*> Stores::of(const Uri& uri) {
  Store* const own = added_.with([&](const std::vector<Added>& added) -> Store* {
    for (const Added& one : added) {
      if (one.scheme == uri.scheme()) return one.store.get();
    }
    return nullptr;
  });
  if (own != nullptr) return own;
  const SchemeRow* const row = TRY(find_scheme(uri));
  const std::string prefix = settings_.prefix_for(uri.text());
  return made_.with([&](std::vector<Made>& made) -> Result<Store*> {
    for (const Made& known : made) {
      if (known.scheme == row->scheme && known.prefix == prefix) return known.store.get();
    }
    const Settings settings = settings_.for_uri(uri.text());
    auto store = row->make(settings);
    if (store && use_cache_ == UseCache::as_set) store = with_cache(*std::move(store), settings);
    if (!store) return std::move(store).error().at(uri.text());
    made.push_back({std::string(row->scheme), prefix, *std::move(store)});
    return made.back().store.get();
  });
}

}  // namespace streamer::core::inline storage
