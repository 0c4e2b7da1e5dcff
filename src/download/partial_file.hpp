// SPDX-License-Identifier: Apache-2.0
#pragma once
// Files that appear whole under their names or not at all, and leftovers of unfinished ones.

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace streamer::core::inline download {

// Has no name until it is whole, if the file system supports that, so that a killed process leaves
// nothing. Otherwise it has a name that remove_leftovers() knows, and is locked while it is in use.
class PartialFile {
 public:
  // In the folder, which is open and must outlive it.
  static Result<PartialFile> make(int folder, mode_t mode);
  // With a name from the start, as on file systems without unnamed files.
  static Result<PartialFile> make_named(int folder, mode_t mode);

  PartialFile(PartialFile&& other) noexcept;
  PartialFile& operator=(PartialFile&&) = delete;
  ~PartialFile();

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  // Appends. Fails once the thread's current work is over.
  Result<void> write(std::span<const std::byte> bytes);
  // Starts over, with an empty file.
  Result<void> clear();
  // Writes it to disk, then gives it its name, replacing an existing file.
  Result<void> become(const std::string& name);

 private:
  PartialFile() = default;
  Result<void> take_name(const std::string& name);

  int folder_ = -1;
  UniqueFd fd_;
  std::string partial_name_;  // empty: it has none
  std::uint64_t written_ = 0;
};

// Removes what killed processes left in the folder and below it. Files still in use are not
// touched.
void remove_leftovers(int folder);

}  // namespace streamer::core::inline download
