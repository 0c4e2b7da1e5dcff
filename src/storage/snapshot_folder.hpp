// SPDX-License-Identifier: Apache-2.0
#pragma once
// A model's folder in a cache that others may write to: whose it is, who may change it now, and
// whether what stands in it is what was put there.

#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "storage/pull.hpp"

namespace streamer::core {

// An open folder that only this user or root can have filled. Not followed if it is a symbolic
// link; permission_denied if it is another's or everybody may write to it. not_found if it is not
// there.
Result<UniqueFd> open_own_folder(int parent, const std::string& name, const std::string& path);

// Of everybody who would make a version in the folder; ends with the process that holds it. Waits
// as long as the thread's current work is wanted, and after some seconds warns in the log of who
// holds it.
Result<UniqueFd> lock_folder(int folder, const std::string& path);

// A list of the files in `files` with their SHA-256, as sha256sum(1) writes it, to `name` in
// folder.
Result<void> write_digests(int folder, const std::string& name, int files,
                           const std::vector<WantedFile>& wanted, mode_t mode);
// Whether every wanted file is there, has its size and the digest in that list.
Result<bool> digests_match(int folder, const std::string& name, int files,
                           const std::vector<WantedFile>& wanted);

}  // namespace streamer::core
