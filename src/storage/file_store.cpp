// SPDX-License-Identifier: Apache-2.0
#include "storage/file_store.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <utility>

#include "base/log.hpp"
#include "base/operation.hpp"
#include "storage/hub/hub_cache.hpp"

namespace streamer::core::inline storage {

namespace {

std::int64_t in_ns(const timespec& time) {
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

FileVersion version_of(const struct stat& status) {
  return {.size = static_cast<std::uint64_t>(status.st_size),
          .modified_ns = in_ns(status.st_mtim),
          .inode = status.st_ino,
          .device = status.st_dev,
          .changed_ns = in_ns(status.st_ctim),
          .links = status.st_nlink,
          .mode = status.st_mode,
          .owner = status.st_uid,
          .group = status.st_gid};
}

enum class Difference { none, attributes, bytes, in_doubt };

// Pure. A change of links, mode or owner explains why the change time (ctime) differs.
Difference compare(const FileVersion& pinned, const FileVersion& now) {
  if (now.size != pinned.size || now.modified_ns != pinned.modified_ns ||
      now.inode != pinned.inode || now.device != pinned.device) {
    return Difference::bytes;
  }
  if (now.changed_ns == pinned.changed_ns) return Difference::none;
  const bool is_explained = now.links != pinned.links || now.mode != pinned.mode ||
                            now.owner != pinned.owner || now.group != pinned.group;
  return is_explained ? Difference::attributes : Difference::in_doubt;
}

// Whether the path now leads to another file, or to none: moving a file changes its status.
bool was_moved(const Object& object) {
  struct stat status {};
  if (::stat(object.uri.path().c_str(), &status) != 0) return errno == ENOENT;
  return status.st_ino != object.version.inode || status.st_dev != object.version.device;
}

// O_NONBLOCK: opening a FIFO must not wait for a writer.
Result<UniqueFd> open_file(const std::string& path, int flags) {
  for (;;) {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags));
    if (fd) return fd;
    if (errno != EINTR) return os_failure("open the file", errno).at(path);
  }
}

Result<FileVersion> version_of_open(int fd, const std::string& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return os_failure("stat the file", errno).at(path);
  if (S_ISREG(status.st_mode)) return version_of(status);
  const std::string_view what = S_ISDIR(status.st_mode) ? "a directory" : "not a regular file";
  return Error(ErrorKind::invalid_argument, fmt::format("it is {}; a file is needed", what))
      .at(path);
}

struct CloseFolder {
  void operator()(DIR* folder) const noexcept { ::closedir(folder); }
};

Error changed(const Object& object, const FileVersion& now) {
  std::string how = "was replaced or written to";
  if (now.size < object.size) how = "was truncated";
  if (now.size > object.size) how = "has grown";
  return Error(ErrorKind::object_changed,
               fmt::format("the file {} while it was being read: it had {} bytes when it was "
                           "opened and now has {}; load it again once nothing writes to it",
                           how, object.size, now.size))
      .at(object.uri.text());
}

Error may_have_changed(const Object& object) {
  return Error(
             ErrorKind::object_changed,
             "the file may have been written to while it was being read: its size and modification "
             "time are unchanged, but its status changed (ctime), and neither links, mode nor "
             "owner explain why. Either its bytes were rewritten and the time was reset, or only "
             "its times or extended attributes were set: load it again once nothing modifies it")
      .at(object.uri.text());
}

}  // namespace

Result<void> check_pinned(int fd, const Object& object) {
  return PinnedFile(object).check(fd);
}

Result<void> PinnedFile::check(int fd) const {
  const FileVersion now = TRY(version_of_open(fd, object_.uri.path()));
  if (compare(object_.version, now) == Difference::none) return {};
  return last_seen_.with([&](FileVersion& seen) { return look_again(fd, seen); });
}

Result<void> PinnedFile::look_again(int fd, FileVersion& seen) const {
  // Asked again under the lock: what another reader has noted meanwhile must not be newer.
  const FileVersion now = TRY(version_of_open(fd, object_.uri.path()));
  const Difference difference = compare(seen, now);
  if (difference == Difference::none) return {};
  if (difference == Difference::bytes) return changed(object_, now);
  if (difference == Difference::in_doubt && !was_moved(object_)) return may_have_changed(object_);
  // Renaming another file over it takes a name from it, which is usual.
  const bool is_usual = difference == Difference::in_doubt || now.links < seen.links;
  log_line(is_usual ? LogLevel::info : LogLevel::warning,
           fmt::format("{}: {} while it was being read; its size and modification time are "
                       "unchanged, so its bytes are assumed to be, too",
                       object_.uri.text(),
                       is_usual ? "it was unlinked or moved" : "its links, mode or owner changed"));
  seen = now;
  return {};
}

Result<UniqueFd> open_pinned(const Object& object, int extra_flags) {
  UniqueFd fd = TRY(open_file(object.uri.path(), extra_flags));
  TRY(check_pinned(fd.get(), object));
  // It is a regular file. With O_NONBLOCK, io_uring would answer EAGAIN instead of waiting, on file
  // systems that always wait.
  const int flags = ::fcntl(fd.get(), F_GETFL);
  if (flags < 0 || ::fcntl(fd.get(), F_SETFL, flags & ~O_NONBLOCK) != 0) {
    return os_failure("set the file's flags", errno).at(object.uri.text());
  }
  return fd;
}

Result<Object> stat_file(const Uri& uri) {
  const UniqueFd fd = TRY(open_file(uri.path(), 0));
  const FileVersion version = TRY(version_of_open(fd.get(), uri.path()));
  return Object{
      .uri = uri, .size = version.size, .version = version, .etag = {}, .last_modified = {}};
}

Result<Opened> FileStore::open(const Uri& uri, std::uint64_t first_bytes) {
  Object object = TRY(stat_file(uri));
  std::vector<std::byte> first(std::min(object.size, first_bytes));
  TRY(read(object, {0, first.size()}, first));
  return Opened{std::move(object), std::move(first)};
}

Result<bool> FileStore::is_folder(const Uri& uri) {
  struct stat status {};
  if (::stat(uri.path().c_str(), &status) != 0) {
    return os_failure("find it", errno).at(uri.text());
  }
  return S_ISDIR(status.st_mode);
}

Result<void> FileStore::list_into(const Uri& folder_uri, ListDepth depth,
                                  std::vector<Entry>& entries) {
  const std::unique_ptr<DIR, CloseFolder> folder(::opendir(folder_uri.path().c_str()));
  if (!folder) return os_failure("list the directory", errno).at(folder_uri.text());
  for (;;) {
    TRY(still_wanted("listing the directory").at(folder_uri.text()));
    errno = 0;
    const dirent* const read = ::readdir(folder.get());
    if (read == nullptr && errno != 0)
      return os_failure("list the directory", errno).at(folder_uri.text());
    if (read == nullptr) return {};
    const std::string_view name = read->d_name;
    if (name == "." || name == "..") continue;
    struct stat status {};
    // Removed since it was listed, or a dangling link.
    if (::fstatat(::dirfd(folder.get()), read->d_name, &status, 0) != 0) continue;
    const Uri below = child(folder_uri, name);
    if (!S_ISDIR(status.st_mode)) {
      entries.push_back({below, static_cast<std::uint64_t>(status.st_size), false, {}});
    } else if (depth == ListDepth::children) {
      entries.push_back({child(below, ""), 0, true, {}});
    } else if (read->d_type != DT_LNK) {
      // Links to directories may form loops.
      TRY(list_into(below, depth, entries));
    }
  }
}

Result<std::vector<Entry>> FileStore::list(const Uri& uri, ListDepth depth) {
  if (!TRY(is_folder(uri))) {
    const Object object = TRY(stat_file(uri));
    return std::vector<Entry>{{uri, object.size, false, {}}};
  }
  std::vector<Entry> entries;
  TRY(list_into(uri, depth, entries));
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.uri.path() < b.uri.path(); });
  return entries;
}

Result<std::vector<BrokenEntry>> FileStore::broken_entries(const Uri& folder_uri) {
  const std::unique_ptr<DIR, CloseFolder> folder(::opendir(folder_uri.path().c_str()));
  if (!folder) return os_failure("list the directory", errno).at(folder_uri.text());
  std::vector<BrokenEntry> broken;
  for (;;) {
    errno = 0;
    const dirent* const read = ::readdir(folder.get());
    if (read == nullptr && errno != 0)
      return os_failure("list the directory", errno).at(folder_uri.text());
    if (read == nullptr) return broken;
    struct stat status {};
    if (::fstatat(::dirfd(folder.get()), read->d_name, &status, 0) == 0) continue;
    BrokenEntry entry{.name = read->d_name, .target = {}, .os_error = errno};
    std::array<char, 4096> target{};
    const ssize_t length =
        ::readlinkat(::dirfd(folder.get()), read->d_name, target.data(), target.size());
    if (length > 0) entry.target.assign(target.data(), static_cast<std::size_t>(length));
    // Removed since it was listed.
    if (length < 0 && entry.os_error == ENOENT) continue;
    broken.push_back(std::move(entry));
  }
}

Result<void> FileStore::read(const Object& object, ByteRange range, std::span<std::byte> to) {
  const UniqueFd fd = TRY(open_pinned(object));
  for (std::uint64_t done = 0; done < range.size;) {
    const ssize_t got = ::pread(fd.get(), to.data() + done, range.size - done,
                                static_cast<off_t>(range.offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return os_failure("read the file", errno).at(object.uri.text(), range);
    if (got == 0) {
      TRY(check_pinned(fd.get(), object));
      return Error(ErrorKind::io, "the file ended early").at(object.uri.text(), range);
    }
    done += static_cast<std::uint64_t>(got);
  }
  // The file may have been written to during the read: then these bytes are of no version.
  return check_pinned(fd.get(), object);
}

Result<StoredChecksum> FileStore::stored_checksum(const Object& object) {
  auto expected =
      sha256_of_hub_etag(hub_etag_of_file(object.uri.path()), "its name in the hub's cache");
  if (expected) return StoredChecksum{std::move(expected), {}};
  return Store::stored_checksum(object);
}

}  // namespace streamer::core::inline storage
