// SPDX-License-Identifier: Apache-2.0
#pragma once
// The cache of the hub's own client, which is only read:
//   models--ORG--NAME/refs/REVISION            the commit that it was
//   models--ORG--NAME/snapshots/COMMIT/PATH    a link to
//   models--ORG--NAME/blobs/ETAG               whose name is its SHA-256 (LFS), or its git id
//   models--ORG--NAME/trees/COMMIT.json        all of the commit's files, pulled or not

#include <optional>
#include <string>
#include <vector>

#include "storage/hub/hub_place.hpp"
#include "storage/store.hpp"

namespace streamer::core::inline storage {

struct HubFile {
  std::string path;
  std::uint64_t size = 0;
  std::string etag;
};

class HubCache {
 public:
  // folder: empty if there is no cache.
  explicit HubCache(std::string folder) : folder_(std::move(folder)) {}

  [[nodiscard]] const std::string& folder() const noexcept { return folder_; }
  // Of the place's repository.
  [[nodiscard]] std::string repository(const HubPlace& place) const;
  // The commit that the place's revision was when it was last pulled.
  [[nodiscard]] std::optional<std::string> commit_of(const HubPlace& place) const;
  // The commit's folder; nullopt if there is none.
  [[nodiscard]] std::optional<Uri> snapshot(const HubPlace& place, const std::string& commit) const;
  // A whole file of the commit; nullopt if it is not there.
  [[nodiscard]] std::optional<Uri> file(const HubPlace& place, const std::string& commit,
                                        std::string_view path) const;
  // All files of the commit, sorted by path; nullopt if the cache does not say.
  [[nodiscard]] std::optional<std::vector<HubFile>> tree(const HubPlace& place,
                                                         const std::string& commit) const;

 private:
  const std::string folder_;
};

// What is directly below the place among all files, or everything; the file itself, if it is one.
[[nodiscard]] std::vector<Entry> entries_below(const std::vector<HubFile>& files,
                                               const HubPlace& place, const Uri& uri,
                                               ListDepth depth);

// The ETag, in quotes, of a cached file, which is its blob's name; empty if path is none's.
[[nodiscard]] std::string hub_etag_of_file(const std::string& path);

// The SHA-256 that an ETag of the hub is, for files in LFS; nullopt for others.
[[nodiscard]] std::optional<ExpectedChecksum> sha256_of_hub_etag(std::string_view etag,
                                                                 std::string source);

}  // namespace streamer::core::inline storage
