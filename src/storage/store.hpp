// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where bytes are: what every backend can do.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "storage/uri.hpp"

namespace streamer::core {

// What tells one version of a file from another. Renaming over a path leaves an open file's alone.
struct FileVersion {
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;
  std::uint64_t inode = 0;
  std::uint64_t device = 0;
  friend bool operator==(const FileVersion&, const FileVersion&) = default;
};

// One stored file, pinned to one version. Every later byte comes from that version.
struct Object {
  Uri uri;
  std::uint64_t size = 0;
  FileVersion version;
};

struct Entry {
  Uri uri;
  std::uint64_t size = 0;
  bool is_folder = false;
};

// Thread-safe: every call may run on several threads at once.
class Store {
 public:
  virtual ~Store() = default;

  // The object as it is now. not_found, permission_denied; invalid_argument if it is no file.
  virtual Result<Object> stat(const Uri& uri) = 0;

  // Whether uri is something that list() can look into. not_found if it is nothing.
  virtual Result<bool> is_folder(const Uri& uri) = 0;

  // What stands directly under uri, sorted by name; a file is its own only entry.
  virtual Result<std::vector<Entry>> list(const Uri& uri) = 0;

  // All of range, which must lie in the object, into to (to.size() == range.size). Blocks. Fails
  // with object_changed if the object is not the pinned version.
  virtual Result<void> read(const Object& object, ByteRange range, std::span<std::byte> to) = 0;
};

// The store for a URI's scheme. Lives as long as the process.
Result<Store*> store_for(const Uri& uri);

}  // namespace streamer::core
