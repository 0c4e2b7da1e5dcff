// SPDX-License-Identifier: Apache-2.0
#pragma once
// A private mapping of a file that is in the page cache. Its tensors are views of it: nothing is
// copied until they are written to.
//
// A view would change with its file, or end the process (SIGBUS) once the file is cut off. So the
// file is under a read lease (fcntl(2), F_SETLEASE): whoever opens it for writing, or truncates it,
// waits in the kernel until the lease is given up, which happens after all bytes that are in use
// have been moved to memory of their own, at the same addresses. The kernel's patience is
// /proc/sys/fs/lease-break-time, 45 s unless somebody changed it. Only the file's owner and
// programs with CAP_LEASE get a lease, only on file systems whose kernel sees every writer, and
// only while nobody has the file open for writing.

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/bytes.hpp"
#include "base/fork.hpp"
#include "base/guarded.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "storage/file_store.hpp"

namespace streamer::core::inline engine {

class MappedFile {
 public:
  // Memory is given back, and read ahead, in units of this many bytes of the file.
  static constexpr std::uint64_t kUnitBytes = 2 * kMiB;

  // An open file of which most of the range is cached, for map().
  struct Probe {
    UniqueFd file;
    std::optional<std::uint64_t> uncached_bytes;  // nullopt: only a mapping can tell
  };
  // Both errors say why the file cannot be mapped; it can still be read.
  static Result<Probe> probe(const Object& object, ByteRange range);
  // Takes the lease, about whose end the thread lease_thread is told by SIGIO, which it must have
  // blocked, and maps these bytes. object must outlive the result.
  static Result<std::unique_ptr<MappedFile>> map(const Object& object, ByteRange range, Probe probe,
                                                 pid_t lease_thread);

  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  [[nodiscard]] const Object& object() const noexcept { return object_; }
  // The first byte of the file that is mapped.
  [[nodiscard]] std::uint64_t begin() const noexcept { return begin_; }
  // How much of what is mapped was not in the page cache when it was.
  [[nodiscard]] std::uint64_t uncached_bytes() const noexcept { return uncached_bytes_; }
  [[nodiscard]] std::byte* address_of(std::uint64_t offset) const noexcept {
    return data_ + (offset - begin_);
  }
  [[nodiscard]] bool contains(const std::byte* address) const noexcept {
    return address >= data_ && address < data_ + bytes_;
  }
  [[nodiscard]] std::uint64_t offset_of(const std::byte* address) const noexcept {
    return begin_ + static_cast<std::uint64_t>(address - data_);
  }
  [[nodiscard]] std::uint32_t unit_of(std::uint64_t offset) const noexcept {
    return static_cast<std::uint32_t>((offset - begin_) / kUnitBytes);
  }
  [[nodiscard]] std::uint32_t units() const noexcept {
    return static_cast<std::uint32_t>((bytes_ + kUnitBytes - 1) / kUnitBytes);
  }

  // Before any thread uses it: one more view of these bytes.
  void add_view(ByteRange range) noexcept;
  // Any thread, once per view that is no longer needed: its pages leave this process once none of
  // their views is. They stay in the page cache.
  void release(ByteRange range) noexcept;
  // Any thread. Maps the unit's pages now, so that the first look at them costs nothing. A hint.
  void read_ahead(std::uint32_t unit) const noexcept;

  // Whether somebody waits for the lease. By the thread that is told.
  [[nodiscard]] bool is_wanted() const noexcept;
  // Announces that the lease will be given up; then the views that are in use are moved, with
  // move_aside(); then give_up() lets the other go on.
  void begin_to_give_up() noexcept { is_ending_.store(true, std::memory_order_seq_cst); }
  [[nodiscard]] bool is_ending() const noexcept {
    return is_ending_.load(std::memory_order_seq_cst);
  }
  // Any thread: puts these bytes into memory of their own, at the same addresses. What was written
  // to them so far is kept. Fails with object_changed if the file changed in the meantime.
  Result<void> move_aside(ByteRange range);
  void give_up() noexcept;

 private:
  MappedFile(const Object& object, UniqueFd file, ByteRange range);
  Result<void> take_lease(pid_t told);
  Result<void> move_pages(std::uint64_t first, std::uint64_t count, bool from_file);

  struct Moved {
    std::vector<bool> pages;  // empty: none yet
    bool has_lease = true;
  };

  const std::uint32_t generation_ = fork_generation();
  const Object& object_;
  const PinnedFile pinned_;
  const UniqueFd file_;
  const std::uint64_t begin_;  // in the file, on a page
  const std::uint64_t bytes_;
  std::uint64_t uncached_bytes_ = 0;
  std::byte* data_ = nullptr;
  std::unique_ptr<std::atomic<std::uint32_t>[]> views_left_;  // by unit
  std::atomic<bool> is_ending_{false};
  Guarded<Moved> moved_;
};

}  // namespace streamer::core::inline engine
