// SPDX-License-Identifier: Apache-2.0
#pragma once
// Folders that only this user or root can have filled.

#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace streamer::core::inline base {

// For the error: what it is ("the snapshot's folder") and which setting names another.
struct FolderUse {
  const char* what;
  const char* setting;
  // Whether its last component may be a symbolic link, as in a path that the user chose.
  bool may_be_link = false;
};

// name: in the open folder `parent`, or AT_FDCWD; path: all of it, for errors. permission_denied if
// it belongs to another user or is writable by everybody. not_found if it does not exist.
Result<UniqueFd> open_own_folder(int parent, const std::string& name, const std::string& path,
                                 const FolderUse& use);

}  // namespace streamer::core::inline base
