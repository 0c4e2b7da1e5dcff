// SPDX-License-Identifier: Apache-2.0
#include "cli/globs.hpp"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>

#include "cli/interrupt.hpp"
#include "cli/output.hpp"

namespace streamer::cli {

namespace {

constexpr std::string_view kScheme = "://";

bool is_remote(std::string_view uri) {
  return uri.find(kScheme) != std::string_view::npos;
}

std::string_view wildcards_of(std::string_view uri) {
  return is_remote(uri) ? "*[" : "*?[";
}

// The first name with a wildcard, by where it begins.
std::size_t glob_begin(std::string_view uri) {
  const std::size_t wildcard = uri.find_first_of(wildcards_of(uri));
  const std::size_t slash = uri.rfind('/', wildcard);
  return slash == std::string_view::npos ? 0 : slash + 1;
}

// "c" of "a/b/c" and of "a/b/c/".
std::string_view last_name(std::string_view uri) {
  if (uri.ends_with('/')) uri.remove_suffix(1);
  return uri.substr(uri.rfind('/') + 1);
}

std::vector<std::string> names_of(std::string_view path) {
  std::vector<std::string> names;
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    if (slash != 0) names.emplace_back(path.substr(0, slash));
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
  return names;
}

class Matching {
 public:
  Matching(const std::string& uri, const Settings& settings)
      : names_(names_of(std::string_view(uri).substr(glob_begin(uri)))),
        only_folders_(uri.ends_with('/')),
        settings_(settings) {}

  // The names from the i-th on, below folder.
  Result<void> match(const std::string& folder, std::size_t i) {
    auto entries = list(folder, settings_, interrupts());
    if (!entries) return std::move(entries).error();
    const bool is_any_depth = names_[i] == "**";
    const bool is_last = i + 1 == names_.size();
    // ** matches no folder, too.
    if (is_any_depth && !is_last) {
      auto matched = match(folder, i + 1);
      if (!matched) return matched;
    }
    for (const Entry& entry : *entries) {
      const std::string name(last_name(entry.uri));
      if (::fnmatch(is_any_depth ? "*" : names_[i].c_str(), name.c_str(), FNM_PERIOD) != 0) {
        if (seen_.empty()) seen_ = name;
        continue;
      }
      if (is_last && (entry.is_folder || !only_folders_)) matches_.push_back(entry);
      if (!entry.is_folder || (is_last && !is_any_depth)) continue;
      auto matched = match(entry.uri, is_any_depth ? i : i + 1);
      if (!matched) return matched;
    }
    return {};
  }

  std::vector<Entry> take() && {
    const auto by_uri = [](const Entry& a, const Entry& b) { return a.uri < b.uri; };
    const auto same = [](const Entry& a, const Entry& b) { return a.uri == b.uri; };
    std::sort(matches_.begin(), matches_.end(), by_uri);
    matches_.erase(std::unique(matches_.begin(), matches_.end(), same), matches_.end());
    return std::move(matches_);
  }

  // A name that was there and did not match; empty if there was none.
  [[nodiscard]] const std::string& seen() const noexcept { return seen_; }

 private:
  const std::vector<std::string> names_;
  const bool only_folders_;
  const Settings& settings_;
  std::vector<Entry> matches_;
  std::string seen_;
};

}  // namespace

bool has_glob(std::string_view uri) {
  if (is_remote(uri)) {
    if (uri.starts_with("http") || uri.find('?') != std::string_view::npos) return false;
  }
  return uri.find_first_of(wildcards_of(uri)) != std::string_view::npos;
}

std::string folder_before_glob(std::string_view uri) {
  const std::size_t begin = glob_begin(uri);
  return begin == 0 ? "./" : std::string(uri.substr(0, begin));
}

Result<std::optional<std::vector<Entry>>> match_glob(const std::string& uri,
                                                     const Settings& settings) {
  if (!has_glob(uri)) return std::optional<std::vector<Entry>>();
  const std::string folder = folder_before_glob(uri);
  if (folder.ends_with(kScheme))
    return make_error(ErrorKind::invalid_argument,
                      fmt::format("a pattern is for what is below a bucket or a container, not for "
                                  "its name: \"{}\"",
                                  escaped(uri)));
  auto exact = list(uri, settings, interrupts());
  if (exact) return std::optional<std::vector<Entry>>();
  // Without the permission to list, a store says "no" for what is not there.
  if (exact.error().kind() != ErrorKind::not_found &&
      exact.error().kind() != ErrorKind::permission_denied)
    return std::move(exact).error();
  Matching matching(uri, settings);
  auto matched = matching.match(folder, 0);
  if (!matched) return std::move(matched).error();
  const std::string seen = matching.seen();
  std::vector<Entry> matches = std::move(matching).take();
  if (matches.empty()) {
    return make_error(
        ErrorKind::not_found,
        fmt::format("nothing matches \"{}\"{}", escaped(uri),
                    seen.empty() ? std::string("; there is nothing that could")
                                 : fmt::format("; there are names such as \"{}\"", escaped(seen))));
  }
  return std::optional(std::move(matches));
}

Result<std::vector<std::string>> expand_globs(const std::vector<std::string>& uris,
                                              const Settings& settings) {
  std::vector<std::string> all;
  for (const std::string& uri : uris) {
    auto matches = match_glob(uri, settings);
    if (!matches) return std::move(matches).error();
    if (!*matches) {
      all.push_back(uri);
      continue;
    }
    for (Entry& entry : **matches)
      all.push_back(std::move(entry.uri));
  }
  return all;
}

}  // namespace streamer::cli
