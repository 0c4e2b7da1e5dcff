// SPDX-License-Identifier: Apache-2.0
// Listings of stores behind HTTP, page by page.
#include <fmt/format.h>

#include <algorithm>

#include "storage/remote_store.hpp"

namespace streamer::core::inline storage {

namespace {

// A page holds up to 5000 keys of up to 1024 bytes, each escaped threefold at worst.
constexpr std::size_t kMostPageBytes = 32 * kMiB;
constexpr std::uint64_t kKeysPerPage = 1000;
constexpr std::uint32_t kAttemptsAtBadPages = 3;

}  // namespace

Result<Page> RemoteStore::fetch_page(const Uri& folder, ListDepth depth, std::uint64_t most,
                                     const std::string& token) {
  std::optional<SignedRequest> last;
  const auto make = [&]() -> Result<SignedRequest> {
    last = TRY(page_request(folder, depth, most, token));
    return *last;
  };
  Page page;
  const auto accept = [&](const HttpAnswer& answer) -> std::optional<Verdict> {
    if (answer.body.size() >= kMostPageBytes) {
      return Verdict{
          .error = Error(
              ErrorKind::unsupported,
              fmt::format(
                  "one page of the listing is longer than {} MiB, though {} keys were requested: "
                  "the store ignores that limit (max-keys); name the files, or a smaller folder",
                  kMostPageBytes / kMiB, most))};
    }
    auto read = read_page(folder, answer);
    if (!read) {
      return Verdict{.again = Again::soon,
                     .most_attempts = kAttemptsAtBadPages,
                     .error = Error(ErrorKind::io, "the answer to a listing is unusable: " +
                                                       read.error().message())};
    }
    if (!*read) {
      // Some stores answer 200 before they know whether they succeed.
      HttpAnswer failed = answer;
      failed.head.status = 500;
      return judge_answer(folder, *last, failed);
    }
    page = **std::move(read);
    return std::nullopt;
  };
  TRY(fetch(folder, make, accept, kMostPageBytes));
  return page;
}

Result<bool> RemoteStore::is_folder(const Uri& uri) {
  if (uri.key().empty() || uri.key().ends_with("/")) return true;
  // A URI named like a file is taken to be one, which saves a request.
  if (uri.key().ends_with(".safetensors") || uri.key().ends_with(".json")) return false;
  const Uri folder = child(uri, "");
  std::string token;
  for (;;) {
    Page page = TRY(fetch_page(folder, ListDepth::all, 1, token));
    if (!page.entries.empty()) return true;
    // An empty page need not be the last one.
    if (page.next.empty() || page.next == token) return false;
    token = std::move(page.next);
  }
}

Result<std::vector<Entry>> RemoteStore::list(const Uri& uri, ListDepth depth) {
  if (!TRY(is_folder(uri))) {
    const Opened opened = TRY(open(uri, 0));
    return std::vector<Entry>{{uri, opened.object.size, false, opened.object.etag}};
  }
  const Uri folder = child(uri, "");
  std::vector<Entry> entries;
  std::string token;
  for (;;) {
    Page page = TRY(fetch_page(folder, depth, kKeysPerPage, token));
    for (Entry& entry : page.entries) {
      // Empty objects that some tools create to represent a folder are left out. With bytes it is
      // an object.
      const bool is_marker = !entry.is_folder && entry.size == 0 && entry.uri.path().ends_with("/");
      if (!is_marker) entries.push_back(std::move(entry));
    }
    if (page.next.empty()) break;
    if (page.next == token) {
      return Error(ErrorKind::io,
                   "the store gives the same continuation token again: the listing would never end")
          .at(uri.text());
    }
    token = std::move(page.next);
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.uri.path() < b.uri.path(); });
  // Pages that are not in order (S3 Express) may each name the same folder.
  const auto is_same_folder = [](const Entry& a, const Entry& b) {
    return a.is_folder && b.is_folder && a.uri.path() == b.uri.path();
  };
  entries.erase(std::unique(entries.begin(), entries.end(), is_same_folder), entries.end());
  const auto twice = std::adjacent_find(
      entries.begin(), entries.end(),
      [](const Entry& a, const Entry& b) { return a.uri.path() == b.uri.path(); });
  if (twice != entries.end())
    return Error(ErrorKind::io, "the store lists this key twice").at(twice->uri.text());
  return entries;
}

}  // namespace streamer::core::inline storage
