// SPDX-License-Identifier: Apache-2.0
#pragma once
// Files that appear whole under their names or not at all, and what is left of those that never
// did.

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace streamer::core {

// Has no name until it is whole, where the file system can do that: a process that is killed then
// leaves nothing. Elsewhere it has one that remove_leftovers() knows, and its lock is held as long
// as it is used.
class PartialFile {
 public:
  // In the folder, an open one that must outlive it.
  static Result<PartialFile> make(int folder, mode_t mode);
  // With a name from the start, as where the file system has no other way.
  static Result<PartialFile> make_named(int folder, mode_t mode);

  PartialFile(PartialFile&& other) noexcept;
  PartialFile& operator=(PartialFile&&) = delete;
  ~PartialFile();

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  // Behind what was written before. Ends with the thread's current work.
  Result<void> write(std::span<const std::byte> bytes);
  // Begins anew.
  Result<void> clear();
  // On disk, and then under its name, in place of what was there.
  Result<void> become(const std::string& name);

 private:
  PartialFile() = default;
  Result<void> take_name(const std::string& name);

  int folder_ = -1;
  UniqueFd fd_;
  std::string partial_name_;  // empty: it has none
  std::uint64_t written_ = 0;
};

// Removes what killed processes left in the folder and below it. What still is in use is not
// touched.
void remove_leftovers(int folder);

}  // namespace streamer::core
