// SPDX-License-Identifier: Apache-2.0
#pragma once
// The interface of stores: what every backend can do.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/checksum.hpp"
#include "base/guarded.hpp"
#include "base/result.hpp"
#include "base/settings.hpp"
#include "storage/uri.hpp"

namespace streamer::core::inline storage {

// What distinguishes one version of a file from another.
struct FileVersion {
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;
  std::uint64_t inode = 0;
  std::uint64_t device = 0;
  // The change time (ctime): writing changes it, and it cannot be reset, unlike modified_ns.
  // Changes that leave the bytes alone change it too; most of them show in the fields below.
  std::int64_t changed_ns = 0;
  std::uint64_t links = 0;
  std::uint32_t mode = 0;
  std::uint32_t owner = 0;
  std::uint32_t group = 0;
};

// One stored file, pinned to one version. Every later byte comes from that version.
struct Object {
  Uri uri;
  std::uint64_t size = 0;
  FileVersion version;        // of a file
  std::string etag;           // of a remote object, as the store writes it
  std::string last_modified;  // of a remote object; pins it if the store sends no ETag
};

struct Entry {
  Uri uri;
  std::uint64_t size = 0;
  bool is_folder = false;
  std::string etag;  // as the listing writes it; empty for folders and files, or if it has none
};

// A name in a folder without a readable file: a dangling link, or something that cannot be
// examined.
struct BrokenEntry {
  std::string name;
  std::string target;  // of a link
  int os_error = 0;
};

struct Opened {
  Object object;
  std::vector<std::byte> first;  // its first bytes, as many as were asked for or as there are
};

// The expected checksum of a whole object's bytes.
struct ExpectedChecksum {
  ChecksumKind kind = ChecksumKind::sha256;
  std::string bytes;   // of the value, the highest first
  std::string source;  // "the store", "the manifest": for humans
};

// The checksum that a store keeps of all bytes of an object.
struct StoredChecksum {
  std::optional<ExpectedChecksum> expected;
  std::string absent_because;  // for humans, if it has no usable one
};

enum class ListDepth { children, all };

class CacheEntry;
class RemoteStore;
class WeightCache;

// Thread-safe: every call may run on several threads at once.
class Store {
 public:
  virtual ~Store() = default;

  // Pins the object's current version and returns its first bytes, in one request. not_found,
  // permission_denied; invalid_argument if it is not a file.
  virtual Result<Opened> open(const Uri& uri, std::uint64_t first_bytes) = 0;

  // Whether list() can look into uri. not_found if it does not exist; a remote store may report a
  // file instead and leave the answer to open().
  virtual Result<bool> is_folder(const Uri& uri) = 0;

  // What is directly under uri, or everything below it, without folders; sorted by URI. For a file,
  // the file itself.
  virtual Result<std::vector<Entry>> list(const Uri& uri, ListDepth depth) = 0;

  // The children of a folder that list() leaves out, because they cannot be read.
  virtual Result<std::vector<BrokenEntry>> broken_entries(const Uri& folder) {
    static_cast<void>(folder);
    return std::vector<BrokenEntry>();
  }

  // Reads the whole range, which must lie in the object, into to (to.size() == range.size). Blocks.
  // Fails with object_changed if the object is not the pinned version.
  virtual Result<void> read(const Object& object, ByteRange range, std::span<std::byte> to) = 0;

  // The store's checksum of all bytes of the pinned object.
  virtual Result<StoredChecksum> stored_checksum(const Object& object) {
    static_cast<void>(object);
    return StoredChecksum{std::nullopt, "this kind of store keeps none; use a manifest"};
  }

  // ---- What a load may use instead of read(), which always works ----

  // Whether open_pinned() opens its objects.
  [[nodiscard]] virtual bool has_files() const noexcept { return false; }
  // The interface for network readers; nullptr if this store is not remote.
  virtual RemoteStore* remote() noexcept { return nullptr; }
  // Where bytes that come over a network are kept (storage/cache/); nullptr: nowhere.
  virtual WeightCache* cache() noexcept { return nullptr; }
  // What is kept of a pinned object; nullptr: it is not cached.
  virtual std::shared_ptr<CacheEntry> cached(const Object& object);
};

// Whether bytes of stores may come from a cache of the machine, and go there.
enum class UseCache { as_set, never };

// The stores of one set of settings: made when a URI first needs them, with their connections and
// credentials, and shared by everything opened with them. Thread-safe.
class Stores {
 public:
  explicit Stores(Settings settings, UseCache use_cache = UseCache::as_set);

  // Adds a store of the caller's, for a scheme in lower case, replacing the table's. Must be called
  // before any URI of the scheme is used.
  void add(std::string scheme, std::shared_ptr<Store> store);

  // The store for a URI's scheme, with the settings that apply to the URI. Lives as long as this
  // object. unsupported if the scheme has none.
  Result<Store*> of(const Uri& uri);

  // The settings they were made with.
  [[nodiscard]] const Settings& settings() const noexcept { return settings_; }

 private:
  struct Made {
    std::string scheme;
    std::string prefix;  // of the settings that hold for it
    std::unique_ptr<Store> store;
  };
  struct Added {
    std::string scheme;
    std::shared_ptr<Store> store;
  };

  const Settings settings_;
  const UseCache use_cache_;
  Guarded<std::vector<Made>> made_;
  Guarded<std::vector<Added>> added_;
};

}  // namespace streamer::core::inline storage
