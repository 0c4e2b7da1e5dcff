// SPDX-License-Identifier: Apache-2.0
#pragma once
// A model's folder in a cache that others may write to: its owner, its lock, and whether its files
// are still as they were written.

#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "download/pull.hpp"

namespace streamer::core::inline download {

// The lock of all processes that make a version in the folder; released when its process ends.
// Waits until the thread's current work is over, and after a few seconds logs a warning that names
// the holder.
Result<UniqueFd> lock_folder(int folder, const std::string& path);

// Writes a list of the files in `files` with their SHA-256, as sha256sum(1) does, to `name` in
// folder.
Result<void> write_digests(int folder, const std::string& name, int files,
                           const std::vector<WantedFile>& wanted, mode_t mode);
// Whether every wanted file exists and has its size and the digest from that list.
Result<bool> digests_match(int folder, const std::string& name, int files,
                           const std::vector<WantedFile>& wanted);

}  // namespace streamer::core::inline download
