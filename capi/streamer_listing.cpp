// SPDX-License-Identifier: Apache-2.0
#include "boundary.hpp"

using namespace streamer::capi;
namespace core = streamer::core;

extern "C" {

streamer_status streamer_listing_open(const char* uri, const streamer_settings* settings,
                                      streamer_listing** listing_out, streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(uri);
    STREAMER_REQUIRE(listing_out);
    const core::Uri parsed = TRY(core::parse_uri(uri));
    core::Stores stores(settings == nullptr ? core::Settings() : settings->settings);
    core::Store* const store = TRY(stores.of(parsed));
    auto entries = TRY(store->list(parsed, core::ListDepth::children));
    *listing_out = new streamer_listing{std::move(entries)};
    return STREAMER_OK;
  });
}

size_t streamer_listing_count(const streamer_listing* listing) {
  return listing == nullptr ? 0 : listing->entries.size();
}

streamer_status streamer_listing_get_info(const streamer_listing* listing, size_t index,
                                          streamer_entry_info* info_out,
                                          streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(listing);
    STREAMER_REQUIRE(info_out);
    if (index >= listing->entries.size()) {
      return Error(ErrorKind::invalid_argument, "the listing has not that many entries");
    }
    const core::Entry& entry = listing->entries[index];
    streamer_entry_info info = STREAMER_ENTRY_INFO_INIT;
    info.uri = entry.uri.text().c_str();
    info.bytes = entry.size;
    info.is_folder = entry.is_folder ? 1 : 0;
    copy_out(info, info_out);
    return STREAMER_OK;
  });
}

void streamer_listing_free(streamer_listing* listing) {
  delete listing;
}

}  // extern "C"
