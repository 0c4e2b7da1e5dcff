// SPDX-License-Identifier: Apache-2.0
#include "download/partial_file.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string_view>

#include "base/bytes.hpp"
#include "base/chance.hpp"
#include "base/operation.hpp"

namespace streamer::core::inline download {

namespace {

constexpr std::string_view kPrefix = ".streamer-";
constexpr std::string_view kSuffix = ".partial";
// How much is written between two checks whether it is still wanted.
constexpr std::size_t kWriteBytes = kMiB;
// A folder for pulls is much smaller than a whole disk.
constexpr std::uint32_t kMostEntries = 200'000;
constexpr int kDeepest = 64;

std::string random_name() {
  return fmt::format("{}{}-{:08x}{}", kPrefix, ::getpid(),
                     static_cast<unsigned>(chance() * 4294967295.0), kSuffix);
}

// Whether the name in the folder still belongs to the open file.
bool is_named(int folder, const char* name, int fd) {
  struct stat open {};
  struct stat named {};
  return ::fstat(fd, &open) == 0 && ::fstatat(folder, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
         S_ISREG(named.st_mode) && open.st_ino == named.st_ino && open.st_dev == named.st_dev;
}

Result<void> lock(int fd) {
  while (::flock(fd, LOCK_EX) != 0) {
    if (errno != EINTR) return os_failure("lock a file", errno);
  }
  return {};
}

// The path by which an unnamed file can be given a name. Without /proc that needs privileges.
std::string path_of(int fd) {
  return fmt::format("/proc/self/fd/{}", fd);
}

bool can_link_unnamed() {
  static const bool can = ::access("/proc/self/fd", X_OK) == 0;
  return can;
}

}  // namespace

PartialFile::PartialFile(PartialFile&& other) noexcept
    : folder_(other.folder_),
      fd_(std::move(other.fd_)),
      partial_name_(std::exchange(other.partial_name_, {})),
      written_(other.written_) {}

PartialFile::~PartialFile() {
  if (!partial_name_.empty()) ::unlinkat(folder_, partial_name_.c_str(), 0);
}

Result<PartialFile> PartialFile::make(int folder, mode_t mode) {
  if (can_link_unnamed()) {
    PartialFile file;
    file.folder_ = folder;
    file.fd_ = UniqueFd(::openat(folder, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, mode));
    if (file.fd_) {
      // Before it has a name, so that no other process can find it unlocked.
      TRY(lock(file.fd_.get()));
      return file;
    }
    // The errors of file systems and kernels that do not support it.
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL && errno != ENOENT)
      return os_failure("create a file", errno);
  }
  return make_named(folder, mode);
}

Result<PartialFile> PartialFile::make_named(int folder, mode_t mode) {
  for (int attempt = 0;; ++attempt) {
    PartialFile file;
    file.folder_ = folder;
    const std::string name = random_name();
    file.fd_ = UniqueFd(
        ::openat(folder, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
    if (!file.fd_) {
      if (errno == EEXIST && attempt < 100) continue;
      return os_failure("create a file", errno);
    }
    TRY(lock(file.fd_.get()));
    // Until it was locked, another process may have removed it as a leftover.
    if (!is_named(folder, name.c_str(), file.fd_.get()) && attempt < 100) continue;
    file.partial_name_ = name;
    return file;
  }
}

Result<void> PartialFile::write(std::span<const std::byte> bytes) {
  const std::uint64_t began = written_;
  while (!bytes.empty()) {
    TRY(still_wanted("writing the file"));
    const ssize_t wrote = ::write(fd_.get(), bytes.data(), std::min(bytes.size(), kWriteBytes));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return os_failure("write the file", errno);
    bytes = bytes.subspan(static_cast<std::size_t>(wrote));
    written_ += static_cast<std::uint64_t>(wrote);
  }
  // Starts writing it to disk now, so that little is left for the fsync() at the end, which cannot
  // be interrupted.
  ::sync_file_range(fd_.get(), static_cast<off64_t>(began), static_cast<off64_t>(written_ - began),
                    SYNC_FILE_RANGE_WRITE);
  return {};
}

Result<void> PartialFile::clear() {
  if (::ftruncate(fd_.get(), 0) != 0 || ::lseek(fd_.get(), 0, SEEK_SET) != 0)
    return os_failure("truncate the file", errno);
  written_ = 0;
  return {};
}

Result<void> PartialFile::become(const std::string& name) {
  TRY(still_wanted("about to give the file its name"));
  if (::fsync(fd_.get()) != 0) return os_failure("write the file to disk", errno);
  return take_name(name);
}

Result<void> PartialFile::take_name(const std::string& name) {
  const std::string self = path_of(fd_.get());
  for (int attempt = 0; partial_name_.empty(); ++attempt) {
    if (::linkat(AT_FDCWD, self.c_str(), folder_, name.c_str(), AT_SYMLINK_FOLLOW) == 0) return {};
    if (errno != EEXIST) return os_failure("name the file", errno);
    // A link replaces nothing, but a rename does.
    std::string partial = random_name();
    if (::linkat(AT_FDCWD, self.c_str(), folder_, partial.c_str(), AT_SYMLINK_FOLLOW) == 0) {
      partial_name_ = std::move(partial);
    } else if (errno != EEXIST || attempt == 100) {
      return os_failure("name the file", errno);
    }
  }
  if (::renameat(folder_, partial_name_.c_str(), folder_, name.c_str()) != 0)
    return os_failure("name the file", errno);
  partial_name_.clear();
  return {};
}

namespace {

struct CloseStream {
  void operator()(DIR* stream) const noexcept { ::closedir(stream); }
};

void remove_if_left(int folder, const char* name) {
  const UniqueFd fd(::openat(folder, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  // A file in use is locked. Before it was locked here, this one may have been renamed to its final
  // name, or another file may have taken its name.
  if (fd && ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0 && is_named(folder, name, fd.get()))
    ::unlinkat(folder, name, 0);
}

// left: how many entries may still be looked at.
void tidy_up(UniqueFd folder, dev_t device, int depth, std::uint32_t& left) {
  const int copy = ::fcntl(folder.get(), F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return;
  const std::unique_ptr<DIR, CloseStream> stream(::fdopendir(copy));
  if (!stream) {
    ::close(copy);
    return;
  }
  while (const dirent* const entry = ::readdir(stream.get())) {
    if (left == 0 || is_work_over()) return;
    --left;
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (name.starts_with(kPrefix) && name.ends_with(kSuffix))
      remove_if_left(folder.get(), entry->d_name);
    if ((entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN) || depth == kDeepest) continue;
    UniqueFd below(::openat(folder.get(), entry->d_name,
                            O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat status {};
    // Not into other file systems.
    if (below && ::fstat(below.get(), &status) == 0 && status.st_dev == device)
      tidy_up(std::move(below), device, depth + 1, left);
  }
}

}  // namespace

void remove_leftovers(int folder) {
  UniqueFd own(::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat status {};
  if (!own || ::fstat(own.get(), &status) != 0) return;
  std::uint32_t left = kMostEntries;
  tidy_up(std::move(own), status.st_dev, 0, left);
}

}  // namespace streamer::core::inline download
