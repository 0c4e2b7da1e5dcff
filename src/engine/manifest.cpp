// SPDX-License-Identifier: Apache-2.0
#include "engine/manifest.hpp"

#include <fmt/format.h>

#include "base/crypto.hpp"
#include "base/text.hpp"

namespace streamer::core::inline engine {

namespace {

constexpr std::uint64_t kMostManifestBytes = 64 * kMiB;

std::optional<std::pair<std::string, ExpectedChecksum>> parse_line(std::string_view line) {
  const std::size_t space = line.find_first_of(" \t");
  if (space == std::string_view::npos) return std::nullopt;
  std::string_view value = line.substr(0, space);
  std::string_view name = trim(line.substr(space));
  // sha256sum marks files that it read as binary.
  if (name.starts_with("*")) name.remove_prefix(1);
  if (name.starts_with("./")) name.remove_prefix(2);
  ExpectedChecksum expected;
  if (const std::size_t colon = value.find(':'); colon != std::string_view::npos) {
    const auto kind = checksum_from_name(value.substr(0, colon));
    if (!kind) return std::nullopt;
    expected.kind = *kind;
    value.remove_prefix(colon + 1);
  }
  const auto bytes = from_hex(value);
  if (!bytes || bytes->size() != checksum_bytes(expected.kind) || name.empty()) return std::nullopt;
  expected.bytes = *bytes;
  expected.source = "the manifest";
  return std::pair(std::string(name), std::move(expected));
}

}  // namespace

Result<Manifest> Manifest::parse(std::string_view text) {
  Manifest manifest;
  std::size_t number = 0;
  while (!text.empty()) {
    ++number;
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.starts_with("#")) continue;
    auto parsed = parse_line(line);
    if (!parsed) {
      return Error(ErrorKind::corrupt,
                   fmt::format("line {} of the manifest is neither \"SHA256  NAME\" nor "
                               "\"KIND:HEX  NAME\"",
                               number));
    }
    manifest.by_name_.insert_or_assign(std::move(parsed->first), std::move(parsed->second));
  }
  return manifest;
}

Result<Manifest> Manifest::read(Stores& stores, const std::string& uri) {
  const Uri parsed = TRY(parse_uri(uri));
  Store* const store = TRY(stores.of(parsed));
  Opened opened = TRY(store->open(parsed, kMiB));
  if (opened.object.size > kMostManifestBytes)
    return Error(ErrorKind::corrupt, "the manifest is larger than 64 MiB").at(uri);
  const std::size_t here = opened.first.size();
  opened.first.resize(opened.object.size);
  const std::span<std::byte> rest = std::span(opened.first).subspan(here);
  if (!rest.empty()) TRY(store->read(opened.object, {here, rest.size()}, rest));
  return parse({reinterpret_cast<const char*>(opened.first.data()), opened.first.size()}).at(uri);
}

const ExpectedChecksum* Manifest::find(const Uri& object) const noexcept {
  std::string_view name = object.path();
  for (;;) {
    const auto found = by_name_.find(name);
    if (found != by_name_.end()) return &found->second;
    const std::size_t slash = name.find('/');
    if (slash == std::string_view::npos) return nullptr;
    name.remove_prefix(slash + 1);
  }
}

}  // namespace streamer::core::inline engine
