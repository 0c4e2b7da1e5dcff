// SPDX-License-Identifier: Apache-2.0
#include "storage/cache/cache_settings.hpp"

#include "base/text.hpp"

namespace streamer::core::setting {

std::optional<CachePlaceType::Value> CachePlaceType::read(std::string_view text) const {
  if (text == "off") return Value();
  CachePlace place;
  const std::size_t colon = text.rfind(':');
  if (colon != std::string_view::npos && text.find('/', colon) == std::string_view::npos) {
    const auto bytes = parse_bytes(text.substr(colon + 1));
    if (!bytes || *bytes == 0) return std::nullopt;
    place.limit_bytes = *bytes;
    text = text.substr(0, colon);
  }
  // A relative one would be another folder for each process.
  if (!text.starts_with('/')) return std::nullopt;
  place.folder = text;
  return Value(std::move(place));
}

std::string CachePlaceType::values() const {
  return "off, or the absolute path of a folder, with :SIZE behind it if it is to be bounded "
         "(/var/cache/weights:200GiB)";
}

}  // namespace streamer::core::setting
