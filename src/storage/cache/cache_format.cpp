// SPDX-License-Identifier: Apache-2.0
#include "storage/cache/cache_format.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/checksum.hpp"
#include "base/crypto.hpp"
#include "base/json.hpp"
#include "base/text.hpp"

namespace streamer::core::inline storage {

namespace {

constexpr std::uint64_t kCacheVersion = 1;
constexpr std::size_t kNameDigits = 32;

std::string hash_name(std::string_view text) {
  return hex(as_text(sha256(text))).substr(0, kNameDigits);
}

std::uint64_t crc_of(std::string_view bytes) noexcept {
  return crc_update(ChecksumKind::crc64nvme, 0, bytes);
}

// What signing adds to a URL: AWS, Google, Azure, CloudFront.
bool changes_with_signing(std::string_view name) {
  constexpr std::array<std::string_view, 26> kNames = {"awsaccesskeyid",
                                                       "expires",
                                                       "googleaccessid",
                                                       "key-pair-id",
                                                       "policy",
                                                       "se",
                                                       "sig",
                                                       "signature",
                                                       "sip",
                                                       "ske",
                                                       "skoid",
                                                       "sks",
                                                       "skt",
                                                       "sktid",
                                                       "skv",
                                                       "sp",
                                                       "spr",
                                                       "sr",
                                                       "srt",
                                                       "ss",
                                                       "st",
                                                       "sv",
                                                       "saoid",
                                                       "suoid",
                                                       "scid",
                                                       "sdd"};
  const std::string lower = to_lower(name);
  return lower.starts_with("x-amz-") || lower.starts_with("x-goog-") ||
         std::find(kNames.begin(), kNames.end(), lower) != kNames.end();
}

}  // namespace

std::string cache_identity(std::string_view origin, std::string_view uri, std::string_view query) {
  std::string text = fmt::format("{}\n{}\n", origin, uri);
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view one = query.substr(0, end);
    if (!changes_with_signing(one.substr(0, one.find('=')))) text += fmt::format("{}&", one);
    query.remove_prefix(std::min(end + 1, query.size()));
  }
  return hash_name(text);
}

std::string cache_file_name(const CacheKey& key) {
  return hash_name(fmt::format("{}\n{}", key.etag, key.size));
}

bool is_strong_etag(std::string_view etag) noexcept {
  return !etag.empty() && !etag.starts_with("W/");
}

std::optional<std::string> cache_head(const CacheKey& key) {
  std::string page = fmt::format(
      R"({{"libstreamer_cache":{},"block_bytes":{},"identity":"{}","size":{},"etag":"{}","uri":{}}})",
      kCacheVersion, kCacheBlockBytes, key.identity, key.size, hex(key.etag), quote_json(key.uri));
  page += fmt::format("\n{:016x}\n", crc_of(page));
  if (page.size() > kPageBytes) return std::nullopt;
  page.resize(kPageBytes, '\0');
  return page;
}

std::optional<CacheKey> read_cache_head(std::string_view page) {
  const std::size_t end = page.find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view json = page.substr(0, end);
  if (page.substr(end + 1, 17) != fmt::format("{:016x}\n", crc_of(json))) return std::nullopt;
  CacheKey key;
  std::uint64_t version = 0;
  std::uint64_t block_bytes = 0;
  const auto read = read_json(JsonText(json), [&](JsonValue& whole) {
    return whole.members([&](std::string_view name, JsonValue& value) -> Result<void> {
      if (name == "libstreamer_cache") version = TRY(value.unsigned_integer());
      if (name == "block_bytes") block_bytes = TRY(value.unsigned_integer());
      if (name == "identity") key.identity = TRY(value.string());
      if (name == "size") key.size = TRY(value.unsigned_integer());
      if (name == "etag") key.etag = from_hex(TRY(value.string())).value_or("");
      if (name == "uri") key.uri = TRY(value.string());
      return {};
    });
  });
  if (!read || version != kCacheVersion || block_bytes != kCacheBlockBytes) return std::nullopt;
  return key;
}

std::uint64_t cache_block_sum(std::uint64_t block, std::string_view bytes) noexcept {
  // The multiplier spreads the block's number over all bits.
  const std::uint64_t sum = crc_of(bytes) ^ ((block + 1) * 0x9E3779B97F4A7C15);
  return sum == 0 ? 1 : sum;
}

}  // namespace streamer::core::inline storage
