// SPDX-License-Identifier: Apache-2.0
#include "storage/cache/cache_folder.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "base/checksum.hpp"
#include "base/own_folder.hpp"

namespace streamer::core::inline storage {

namespace {

constexpr mode_t kFolderMode = 0700;
constexpr mode_t kFileMode = 0600;
constexpr std::string_view kWeights = ".weights";
// A listing of very many files is not worth keeping.
constexpr std::size_t kMostTextBytes = 16 * kMiB;
// Another process may remove a file, or its folder, between two calls.
constexpr int kMostRaces = 10;
constexpr FolderUse kUse{
    .what = "the folder of cached weights", .setting = "cache_weights", .may_be_link = true};

struct CloseStream {
  void operator()(DIR* stream) const noexcept { ::closedir(stream); }
};

// The names in an open folder.
std::vector<std::string> names_in(int folder) {
  std::vector<std::string> names;
  // A copy of `folder` would share its position with it.
  const UniqueFd own(::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const int copy = own ? ::fcntl(own.get(), F_DUPFD_CLOEXEC, 0) : -1;
  if (copy < 0) return names;
  const std::unique_ptr<DIR, CloseStream> stream(::fdopendir(copy));
  if (!stream) {
    ::close(copy);
    return names;
  }
  while (const dirent* const entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  return names;
}

std::int64_t nanoseconds_of(const timespec& time) {
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

// Without waiting.
bool lock(int fd, int how) {
  while (::flock(fd, how | LOCK_NB) != 0) {
    if (errno != EINTR) return false;
  }
  return true;
}

std::optional<CacheKey> read_head(int fd) {
  std::string page(kPageBytes, '\0');
  const ssize_t got = ::pread(fd, page.data(), page.size(), 0);
  if (got != static_cast<ssize_t>(page.size())) return std::nullopt;
  return read_cache_head(page);
}

bool write_head(int fd, const CacheKey& key) {
  const auto head = cache_head(key);
  if (!head) {
    errno = ENAMETOOLONG;
    return false;
  }
  return ::ftruncate(fd, 0) == 0 &&
         ::pwrite(fd, head->data(), head->size(), 0) == static_cast<ssize_t>(head->size());
}

// Locked, shared, and with a valid head that is the key's; writes the head if it may and nobody
// else uses the file. False with errno.
bool settle(int fd, const CacheKey& key, CacheFolder::IfMissing missing) {
  if (!lock(fd, LOCK_SH)) return false;
  if (const auto head = read_head(fd); head && *head == key) return true;
  errno = ENOENT;
  if (missing == CacheFolder::IfMissing::leave || !lock(fd, LOCK_EX)) return false;
  // Between the two locks another process may have done it.
  const auto head = read_head(fd);
  const bool is_there = (head && *head == key) || write_head(fd, key);
  const int failure = errno;
  const bool is_shared = lock(fd, LOCK_SH);
  if (!is_there) errno = failure;
  return is_there && is_shared;
}

}  // namespace

Result<CacheFolder> CacheFolder::open(const std::string& path) {
  for (std::size_t slash = 1; slash != std::string::npos && slash < path.size();) {
    slash = path.find('/', slash);
    const std::string part = path.substr(0, slash);
    if (::mkdir(part.c_str(), kFolderMode) != 0 && errno != EEXIST) {
      const int failure = errno;
      struct stat status {};
      // Nothing may be made in some folders, although those below them are there.
      if (::stat(part.c_str(), &status) != 0)
        return os_failure("create the folder of cached weights", failure).at(path);
    }
    if (slash != std::string::npos) ++slash;
  }
  UniqueFd fd = TRY(open_own_folder(AT_FDCWD, path, path, kUse));
  return CacheFolder(std::move(fd), path);
}

UniqueFd CacheFolder::folder_of(const std::string& identity, IfMissing missing) const {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  UniqueFd folder(::openat(fd_.get(), identity.c_str(), kFlags));
  if (folder || errno != ENOENT || missing == IfMissing::leave) return folder;
  if (::mkdirat(fd_.get(), identity.c_str(), kFolderMode) != 0 && errno != EEXIST) return folder;
  return UniqueFd(::openat(fd_.get(), identity.c_str(), kFlags));
}

std::optional<CacheFile> CacheFolder::open_file(const CacheKey& key, IfMissing missing,
                                                Opening opening) const {
  const std::string name = cache_file_name(key) + std::string(kWeights);
  constexpr int kFlags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  for (int race = 0; race < kMostRaces; ++race) {
    const UniqueFd folder = folder_of(key.identity, missing);
    if (!folder) return std::nullopt;
    CacheFile file;
    file.fd = UniqueFd(::openat(folder.get(), name.c_str(),
                                kFlags | (missing == IfMissing::make ? O_CREAT : 0), kFileMode));
    if (!file.fd) {
      // Its folder was removed.
      if (errno == ENOENT && missing == IfMissing::make) continue;
      return std::nullopt;
    }
    if (!settle(file.fd.get(), key, missing)) return std::nullopt;
    struct stat status {};
    if (::fstat(file.fd.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
        status.st_uid != ::geteuid()) {
      errno = EACCES;
      return std::nullopt;
    }
    if (status.st_nlink == 0) continue;  // removed before it was locked
    file.direct = UniqueFd(::openat(folder.get(), name.c_str(), kFlags | O_DIRECT));
    struct stat other {};
    if (file.direct && (::fstat(file.direct.get(), &other) != 0 || other.st_ino != status.st_ino))
      file.direct = UniqueFd();
    if (opening == Opening::is_use) static_cast<void>(::futimens(file.fd.get(), nullptr));
    return file;
  }
  errno = EAGAIN;
  return std::nullopt;
}

bool CacheFolder::knows(const std::string& identity) const {
  const UniqueFd folder = folder_of(identity, IfMissing::leave);
  if (!folder) return false;
  const auto names = names_in(folder.get());
  return std::any_of(names.begin(), names.end(),
                     [](const std::string& name) { return name.ends_with(kWeights); });
}

std::vector<CacheKey> CacheFolder::versions(const std::string& identity) const {
  const UniqueFd folder = folder_of(identity, IfMissing::leave);
  std::vector<std::pair<std::int64_t, CacheKey>> found;
  for (const std::string& name : folder ? names_in(folder.get()) : std::vector<std::string>()) {
    const UniqueFd fd(
        ::openat(folder.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat status {};
    if (!fd || ::fstat(fd.get(), &status) != 0) continue;
    auto key = read_head(fd.get());
    if (key && key->identity == identity)
      found.emplace_back(nanoseconds_of(status.st_mtim), *std::move(key));
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<CacheKey> keys;
  for (auto& [time, key] : found)
    keys.push_back(std::move(key));
  return keys;
}

std::vector<CacheFolder::Found> CacheFolder::files() const {
  std::vector<Found> all;
  for (const std::string& identity : names_in(fd_.get())) {
    const UniqueFd folder = folder_of(identity, IfMissing::leave);
    if (!folder) continue;
    for (std::string& name : names_in(folder.get())) {
      struct stat status {};
      if (::fstatat(folder.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 ||
          !S_ISREG(status.st_mode) || status.st_uid != ::geteuid()) {
        continue;
      }
      // st_blocks counts units of 512 bytes, whatever the file system's are.
      all.push_back({identity,
                     std::move(name),
                     {.disk_bytes = static_cast<std::uint64_t>(status.st_blocks) * 512,
                      .last_used_ns = nanoseconds_of(status.st_mtim)}});
    }
  }
  return all;
}

std::optional<CacheKey> CacheFolder::key_of(const Found& found) const {
  const UniqueFd folder = folder_of(found.folder, IfMissing::leave);
  if (!folder) return std::nullopt;
  const UniqueFd fd(
      ::openat(folder.get(), found.name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return std::nullopt;
  auto key = read_head(fd.get());
  if (!key || key->identity != found.folder) return std::nullopt;
  return key;
}

bool CacheFolder::remove(const Found& found, Remove how) const {
  const UniqueFd folder = folder_of(found.folder, IfMissing::leave);
  if (!folder) return true;
  const UniqueFd fd(
      ::openat(folder.get(), found.name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd && errno == ENOENT) return true;
  if (how == Remove::if_unused && (!fd || !lock(fd.get(), LOCK_EX))) return false;
  const bool is_gone = ::unlinkat(folder.get(), found.name.c_str(), 0) == 0 || errno == ENOENT;
  // Only if it is empty now.
  ::unlinkat(fd_.get(), found.folder.c_str(), AT_REMOVEDIR);
  return is_gone;
}

DiskSpace CacheFolder::disk() const {
  struct statvfs status {};
  if (::fstatvfs(fd_.get(), &status) != 0) return {};
  return {.total_bytes = std::uint64_t{status.f_blocks} * status.f_frsize,
          .free_bytes = std::uint64_t{status.f_bavail} * status.f_frsize};
}

std::optional<std::string> CacheFolder::read_text(const std::string& identity,
                                                  const std::string& name) const {
  const UniqueFd folder = folder_of(identity, IfMissing::leave);
  if (!folder) return std::nullopt;
  const UniqueFd fd(
      ::openat(folder.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0 || status.st_uid != ::geteuid() ||
      static_cast<std::uint64_t>(status.st_size) > kMostTextBytes) {
    return std::nullopt;
  }
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  if (::pread(fd.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
    return std::nullopt;
  // Ends with its sum: a text that was written halfway, or twice at once, is none.
  constexpr std::size_t kSumDigits = 16;
  if (text.size() < kSumDigits) return std::nullopt;
  const std::string_view body = std::string_view(text).substr(0, text.size() - kSumDigits);
  const std::uint64_t sum = crc_update(ChecksumKind::crc64nvme, 0, body);
  if (!text.ends_with(fmt::format("{:016x}", sum))) return std::nullopt;
  return std::string(body);
}

void CacheFolder::write_text(const std::string& identity, const std::string& name,
                             const std::string& text) const {
  if (text.size() > kMostTextBytes / 2 || read_text(identity, name) == text) return;
  const UniqueFd folder = folder_of(identity, IfMissing::make);
  if (!folder) return;
  const UniqueFd fd(::openat(folder.get(), name.c_str(),
                             O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, kFileMode));
  if (!fd) return;
  const std::string whole =
      fmt::format("{}{:016x}", text, crc_update(ChecksumKind::crc64nvme, 0, text));
  // Beyond that limit a write would end the process, by SIGXFSZ.
  rlimit largest{};
  if (::getrlimit(RLIMIT_FSIZE, &largest) == 0 && whole.size() > largest.rlim_cur) return;
  const bool is_written =
      ::ftruncate(fd.get(), 0) == 0 &&
      ::pwrite(fd.get(), whole.data(), whole.size(), 0) == static_cast<ssize_t>(whole.size());
  if (!is_written) ::unlinkat(folder.get(), name.c_str(), 0);
}

}  // namespace streamer::core::inline storage
