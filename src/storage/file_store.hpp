// SPDX-License-Identifier: Apache-2.0
#pragma once
// Files of the local or a mounted file system.

#include "base/guarded.hpp"
#include "base/unique_fd.hpp"
#include "storage/store.hpp"

namespace streamer::core::inline storage {

class FileStore final : public Store {
 public:
  Result<Opened> open(const Uri& uri, std::uint64_t first_bytes) override;
  Result<bool> is_folder(const Uri& uri) override;
  Result<std::vector<Entry>> list(const Uri& uri, ListDepth depth) override;
  Result<std::vector<BrokenEntry>> broken_entries(const Uri& folder) override;
  Result<void> read(const Object& object, ByteRange range, std::span<std::byte> to) override;
  // Of files in the cache of a hub's client, whose blobs are named by their SHA-256.
  Result<StoredChecksum> stored_checksum(const Object& object) override;
  [[nodiscard]] bool has_files() const noexcept override { return true; }

 private:
  static Result<void> list_into(const Uri& folder, ListDepth depth, std::vector<Entry>& entries);
};

// The file's current version.
Result<Object> stat_file(const Uri& uri);

// Opens the object's file with O_RDONLY | O_CLOEXEC | extra_flags (such as O_DIRECT) and checks
// that it is the pinned version.
Result<UniqueFd> open_pinned(const Object& object, int extra_flags = 0);

// Checks that an open file is still the pinned version.
class PinnedFile {
 public:
  // object must outlive this.
  explicit PinnedFile(const Object& object) : object_(object), last_seen_(object.version) {}

  // Thread-safe. Fails with object_changed, naming old and new size, if the file's size,
  // modification time or inode differ; or if its status changed (ctime) since the last look, and
  // neither links, mode, owner nor a move of the file explain that: then its bytes may have been
  // rewritten and its modification time reset. Unlinking the file, or renaming another one over it,
  // does not affect the open file's bytes.
  Result<void> check(int fd) const;

 private:
  Result<void> look_again(int fd, FileVersion& seen) const;

  const Object& object_;
  mutable Guarded<FileVersion> last_seen_;
};

// One look.
Result<void> check_pinned(int fd, const Object& object);

}  // namespace streamer::core::inline storage
