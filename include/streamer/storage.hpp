// SPDX-License-Identifier: Apache-2.0
#pragma once
// What is stored, without opening a checkpoint.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "result.hpp"
#include "settings.hpp"

namespace streamer {

struct Entry {
  std::string uri;  // of a folder: ends in '/'
  std::uint64_t bytes = 0;
  bool is_folder = false;
};

// What stands directly under a URI, sorted by URI; a file is its own only entry.
inline Result<std::vector<Entry>> list(const std::string& uri, const Settings& settings = {}) {
  struct Free {
    void operator()(streamer_listing* listing) const noexcept { streamer_listing_free(listing); }
  };
  streamer_listing* opened = nullptr;
  streamer_error* error = nullptr;
  if (streamer_listing_open(uri.c_str(), settings.get(), &opened, &error) != STREAMER_OK) {
    return Error(error);
  }
  const std::unique_ptr<streamer_listing, Free> listing(opened);
  std::vector<Entry> entries;
  for (std::size_t i = 0; i < streamer_listing_count(opened); ++i) {
    streamer_entry_info info = STREAMER_ENTRY_INFO_INIT;
    streamer_listing_get_info(opened, i, &info, nullptr);
    entries.push_back({info.uri, info.bytes, info.is_folder != 0});
  }
  return entries;
}

}  // namespace streamer
