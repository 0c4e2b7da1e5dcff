// SPDX-License-Identifier: Apache-2.0
#pragma once
// The cache's folder: one folder for each URI, in it one file for each version that is cached, all
// private to this user. Files that are in use are locked, shared; one that nobody has locked may be
// removed by anybody at any time. Whoever has a removed one open can still read it.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "storage/cache/cache_eviction.hpp"
#include "storage/cache/cache_format.hpp"

namespace streamer::core::inline storage {

// An open file of the cache, locked while it is open.
struct CacheFile {
  UniqueFd fd;      // for reading and writing
  UniqueFd direct;  // the same with O_DIRECT; empty if the file system does not allow it
};

class CacheFolder {
 public:
  // Made if it does not exist, with its parents. Fails with permission_denied if others may have
  // filled it.
  static Result<CacheFolder> open(const std::string& path);

  enum class IfMissing { leave, make };
  // Whether opening counts as using it.
  enum class Opening { is_use, is_no_use };
  // The version's file; nullopt if there is none, or if it cannot be had now, with the reason in
  // errno.
  [[nodiscard]] std::optional<CacheFile> open_file(const CacheKey& key, IfMissing missing,
                                                   Opening opening = Opening::is_use) const;

  // Whether any version of the URI was cached.
  [[nodiscard]] bool knows(const std::string& identity) const;
  // The versions of a URI, the one used last first.
  [[nodiscard]] std::vector<CacheKey> versions(const std::string& identity) const;

  struct Found {
    std::string folder;  // the identity
    std::string name;
    CachedFile file;
  };
  // Every file; those that vanish meanwhile are left out.
  [[nodiscard]] std::vector<Found> files() const;
  // Whose file it is; nullopt if it says nothing valid.
  [[nodiscard]] std::optional<CacheKey> key_of(const Found& found) const;
  enum class Remove { if_unused, in_any_case };
  // False if it is in use.
  [[nodiscard]] bool remove(const Found& found, Remove how) const;  // NOLINT
  [[nodiscard]] DiskSpace disk() const;

  // A small text beside a URI's versions, which is whole or not there.
  [[nodiscard]] std::optional<std::string> read_text(const std::string& identity,
                                                     const std::string& name) const;
  void write_text(const std::string& identity, const std::string& name,
                  const std::string& text) const;

  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  CacheFolder(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  [[nodiscard]] UniqueFd folder_of(const std::string& identity, IfMissing missing) const;

  UniqueFd fd_;
  std::string path_;
};

}  // namespace streamer::core::inline storage
