// SPDX-License-Identifier: Apache-2.0
#include "base/own_folder.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>

namespace streamer::core::inline base {

Result<UniqueFd> open_own_folder(int parent, const std::string& name, const std::string& path,
                                 const FolderUse& use) {
  UniqueFd folder(
      ::openat(parent, name.c_str(),
               O_RDONLY | O_DIRECTORY | O_CLOEXEC | (use.may_be_link ? 0 : O_NOFOLLOW)));
  if (!folder) {
    const int failure = errno;
    struct stat status {};
    const bool is_link = !use.may_be_link &&
                         ::fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
                         S_ISLNK(status.st_mode);
    if (!is_link) return os_failure(fmt::format("open {}", use.what), failure).at(path);
    return Error(ErrorKind::permission_denied,
                 fmt::format("{} is a symbolic link, which may lead out of the cache; remove it, "
                             "or set {} to another folder",
                             use.what, use.setting))
        .at(path);
  }
  struct stat status {};
  if (::fstat(folder.get(), &status) != 0)
    return os_failure(fmt::format("stat {}", use.what), errno).at(path);
  const uid_t mine = ::geteuid();
  if (status.st_uid != mine && status.st_uid != 0) {
    return Error(ErrorKind::permission_denied,
                 fmt::format(
                     "{} belongs to user {}, who is neither this user ({}) nor root and could have "
                     "put anything there; set {} to a folder of your own",
                     use.what, status.st_uid, mine, use.setting))
        .at(path);
  }
  if ((status.st_mode & S_IWOTH) != 0) {
    return Error(
               ErrorKind::permission_denied,
               fmt::format("everybody may write to {} (mode {:04o}) and could have put anything "
                           "there; set {} to a folder that only you may write to, which may be one "
                           "below it",
                           use.what, status.st_mode & 07777U, use.setting))
        .at(path);
  }
  return folder;
}

}  // namespace streamer::core::inline base
