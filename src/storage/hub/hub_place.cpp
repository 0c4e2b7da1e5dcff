// SPDX-License-Identifier: Apache-2.0
#include "storage/hub/hub_place.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"

namespace streamer::core::inline storage {

namespace {

Error no_place(const Uri& uri, std::string_view why) {
  return Error(ErrorKind::invalid_argument,
               fmt::format("{}; write hf://ORGANISATION/MODEL[@REVISION][/PATH]", why))
      .at(uri.text());
}

// Takes the first component from rest.
std::string_view take_component(std::string_view& rest) {
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  const std::string_view component = rest.substr(0, slash);
  rest.remove_prefix(std::min(slash + 1, rest.size()));
  return component;
}

// As hubs restrict them.
bool is_hub_name(std::string_view name) {
  constexpr std::size_t kLongestName = 96;
  const auto is_allowed = [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '_' || c == '.';
  };
  return !name.empty() && name.size() <= kLongestName && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), is_allowed) &&
         name.find("..") == std::string_view::npos && name.find("--") == std::string_view::npos;
}

}  // namespace

bool is_commit(std::string_view text) noexcept {
  return text.size() == 40 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool stays_below(std::string_view path) noexcept {
  if (path.empty() || path.find('\0') != std::string_view::npos) return false;
  for (;;) {
    const std::size_t slash = std::min(path.find('/'), path.size());
    const std::string_view component = path.substr(0, slash);
    if (component.empty() || component == "." || component == "..") return false;
    if (slash == path.size()) return true;
    path.remove_prefix(slash + 1);
  }
}

std::string HubPlace::page() const {
  return kind == "models" ? id : fmt::format("{}/{}", kind, id);
}

std::string_view HubPlace::bare_path() const noexcept {
  std::string_view bare = path;
  while (bare.ends_with("/"))
    bare.remove_suffix(1);
  return bare;
}

Uri HubPlace::at(const Uri& uri, std::string_view path_in_repository) const {
  return uri.with_path(fmt::format("{}/{}", root, path_in_repository));
}

Result<HubPlace> parse_hub_uri(const Uri& uri) {
  HubPlace place{.kind = "models", .id = {}, .revision = "main", .path = {}, .root = {}};
  std::string_view rest = uri.path();
  for (const std::string_view kind : {"models/", "datasets/", "spaces/"}) {
    if (!rest.starts_with(kind)) continue;
    place.kind = take_component(rest);
    break;
  }
  std::string_view name = take_component(rest);
  // A few old models have no organisation.
  if (name.find('@') == std::string_view::npos && !rest.empty()) {
    place.id = std::string(name) + "/";
    name = take_component(rest);
  }
  const std::size_t mark = name.find('@');
  place.id += name.substr(0, mark);
  const std::string_view organisation = std::string_view(place.id).substr(0, place.id.find('/'));
  if (!is_hub_name(organisation) || !is_hub_name(name.substr(0, mark)))
    return no_place(uri, fmt::format("\"{}\" is not the name of a model", place.id));
  if (mark != std::string_view::npos) {
    std::string revision(name.substr(mark + 1));
    if (revision == "refs") {
      // refs/pr/1, refs/convert/parquet
      for (int i = 0; i < 2; ++i)
        revision += fmt::format("/{}", take_component(rest));
    }
    const auto decoded = percent_decode(revision);
    if (!decoded || !stays_below(*decoded))
      return no_place(uri, fmt::format("\"{}\" is not a revision", revision));
    place.revision = *decoded;
  }
  place.path = rest;
  place.root = uri.path().substr(0, uri.path().size() - rest.size());
  while (place.root.ends_with("/"))
    place.root.pop_back();
  if (!place.path.empty() && !stays_below(place.bare_path()))
    return no_place(uri, fmt::format("\"{}\" is not a path in a repository", place.path));
  return place;
}

}  // namespace streamer::core::inline storage
