// SPDX-License-Identifier: Apache-2.0
#include "engine/mapped_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/text.hpp"
#include "engine/page_cache.hpp"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22  // Linux 5.14
#endif

namespace streamer::core::inline engine {

namespace {

// How much is moved at a time: so much memory is needed beside what it replaces.
constexpr std::uint64_t kMovedPages = 32 * kMiB / kPageBytes;

// By statfs(2): those whose files no other machine changes, and which are not made of the files of
// another file system.
constexpr std::uint32_t kLocalFileSystems[] = {
    0xEF53,      // ext2, ext3, ext4
    0x58465342,  // XFS
    0x9123683E,  // Btrfs
    0xF2F52010,  // F2FS
    0x01021994,  // tmpfs
};

Error cannot_map(std::string why) {
  return Error(ErrorKind::unsupported, std::move(why));
}
Error cannot_map(const char* what, int os_error) {
  return os_failure(what, os_error);
}

// A small part may be missing, which is read when its turn comes.
constexpr std::uint64_t kMostUncached = 16;  // of the range: one part of so many

Result<std::uint64_t> few_uncached_bytes(std::optional<std::uint64_t> uncached, ByteRange range) {
  if (!uncached) return cannot_map("the system does not say how much of it is in the page cache");
  if (*uncached <= range.size / kMostUncached) return *uncached;
  return cannot_map(fmt::format("{} of the {} that are wanted are not in the page cache",
                                format_bytes(*uncached), format_bytes(range.size)));
}

// Copies whole pages that the program may be writing to. What orders this after its earlier writes
// is the kernel, which made somebody wait for the lease; ThreadSanitizer does not see that, nor
// would it take a memcpy() for one.
__attribute__((no_sanitize("thread"))) void copy_pages(std::byte* to, const std::byte* from,
                                                       std::uint64_t size) {
  auto* const words_to = reinterpret_cast<std::uint64_t*>(to);
  const auto* const words_from = reinterpret_cast<const std::uint64_t*>(from);
  for (std::uint64_t i = 0; i < size / sizeof(std::uint64_t); ++i)
    words_to[i] = words_from[i];
}

bool is_local(int fd) {
  struct statfs status {};
  if (::fstatfs(fd, &status) != 0) return false;
  const auto type = static_cast<std::uint32_t>(status.f_type);
  return std::find(std::begin(kLocalFileSystems), std::end(kLocalFileSystems), type) !=
         std::end(kLocalFileSystems);
}

}  // namespace

Result<MappedFile::Probe> MappedFile::probe(const Object& object, ByteRange range) {
  UniqueFd file = TRY(open_pinned(object));
  if (!is_local(file.get())) return cannot_map("its file system may let others change it unseen");
  const auto uncached = engine::uncached_bytes(file.get(), range, nullptr);
  if (uncached) TRY(few_uncached_bytes(uncached, range));
  return Probe{std::move(file), uncached};
}

Result<std::unique_ptr<MappedFile>> MappedFile::map(const Object& object, ByteRange range,
                                                    Probe probe, pid_t lease_thread) {
  std::unique_ptr<MappedFile> mapped(new MappedFile(object, std::move(probe.file), range));
  TRY(mapped->take_lease(lease_thread));
  // Writers wait from here on: what is found now stays.
  TRY(mapped->pinned_.check(mapped->file_.get()));
  // Not counted against what the system may promise: only pages that are written to are copied.
  void* const data =
      ::mmap(nullptr, mapped->bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE,
             mapped->file_.get(), static_cast<off_t>(mapped->begin_));
  if (data == MAP_FAILED) return cannot_map("map it", errno);
  mapped->data_ = static_cast<std::byte*>(data);
  if (!probe.uncached_bytes) {
    probe.uncached_bytes = TRY(few_uncached_bytes(
        engine::uncached_bytes(mapped->file_.get(), range, mapped->data_), range));
  }
  mapped->uncached_bytes_ = *probe.uncached_bytes;
  return mapped;
}

MappedFile::MappedFile(const Object& object, UniqueFd file, ByteRange range)
    : object_(object),
      pinned_(object),
      file_(std::move(file)),
      begin_(round_down(range.offset, kPageBytes)),
      bytes_(round_up(range.end(), kPageBytes) - begin_),
      views_left_(std::make_unique<std::atomic<std::uint32_t>[]>(units())) {}

MappedFile::~MappedFile() {
  // Closing the file would not do if a child of fork() has it open too; and a child must leave the
  // lease to its parent.
  if (fork_generation() == generation_)
    static_cast<void>(::fcntl(file_.get(), F_SETLEASE, F_UNLCK));
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

Result<void> MappedFile::take_lease(pid_t told) {
  // Before the lease: a signal to a thread that does not expect it would end the process.
  const f_owner_ex owner{F_OWNER_TID, told};
  if (::fcntl(file_.get(), F_SETOWN_EX, &owner) != 0)
    return cannot_map("choose who is told about its lease", errno);
  if (::fcntl(file_.get(), F_SETLEASE, F_RDLCK) == 0) return {};
  switch (errno) {
    case EAGAIN:
      return cannot_map("it is open for writing");
    case EACCES:
      return cannot_map("it belongs to another user, so nobody can be kept from changing it");
    default:
      return cannot_map("take a lease on it", errno);
  }
}

void MappedFile::add_view(ByteRange range) noexcept {
  // relaxed: no other thread has it yet.
  for (std::uint32_t unit = unit_of(range.offset); unit <= unit_of(range.end() - 1); ++unit)
    views_left_[unit].fetch_add(1, std::memory_order_relaxed);
}

void MappedFile::release(ByteRange range) noexcept {
  const std::uint32_t end = unit_of(range.end() - 1) + 1;
  std::uint32_t first = unit_of(range.offset);
  const auto drop_to = [&](std::uint32_t unit) {
    const std::uint64_t at = first * kUnitBytes;
    const std::uint64_t size = std::min(unit * kUnitBytes, bytes_) - at;
    if (unit > first) static_cast<void>(::madvise(data_ + at, size, MADV_DONTNEED));
    first = unit + 1;
  };
  for (std::uint32_t unit = first; unit < end; ++unit) {
    // release: this holder is done with the pages. acquire: the last one drops them for all.
    if (views_left_[unit].fetch_sub(1, std::memory_order_acq_rel) != 1) drop_to(unit);
  }
  drop_to(end);
}

void MappedFile::read_ahead(std::uint32_t unit) const noexcept {
  const std::uint64_t at = unit * kUnitBytes;
  static_cast<void>(::madvise(data_ + at, std::min(kUnitBytes, bytes_ - at), MADV_POPULATE_READ));
}

bool MappedFile::is_wanted() const noexcept {
  return ::fcntl(file_.get(), F_GETLEASE) != F_RDLCK;
}

Result<void> MappedFile::move_aside(ByteRange range) {
  const std::uint64_t end = (round_up(range.end(), kPageBytes) - begin_) / kPageBytes;
  return moved_.with([&](Moved& moved) -> Result<void> {
    if (moved.pages.empty()) moved.pages.resize(bytes_ / kPageBytes);
    // With the lease the mapping has the bytes of the file and what was written to the views since.
    // Without it, the pages that are not moved yet are in no view that is in use.
    const bool from_file = !moved.has_lease;
    for (std::uint64_t at = (range.offset - begin_) / kPageBytes; at < end;) {
      if (moved.pages[at]) {
        ++at;
        continue;
      }
      std::uint64_t count = 1;
      while (count < kMovedPages && at + count < end && !moved.pages[at + count])
        ++count;
      TRY(move_pages(at, count, from_file));
      std::fill_n(moved.pages.begin() + static_cast<std::ptrdiff_t>(at), count, true);
      at += count;
    }
    if (from_file) TRY(pinned_.check(file_.get()));
    return {};
  });
}

Result<void> MappedFile::move_pages(std::uint64_t first, std::uint64_t count, bool from_file) {
  const std::uint64_t size = count * kPageBytes;
  std::byte* const place = data_ + first * kPageBytes;
  void* const fresh =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (fresh == MAP_FAILED) return os_failure("make room for tensors of a file that changes", errno);
  if (from_file) {
    // Shorter than it was: the caller finds out.
    auto* to = static_cast<std::byte*>(fresh);
    for (std::uint64_t done = 0; done < size;) {
      const ssize_t got = ::pread(file_.get(), to + done, size - done,
                                  static_cast<off_t>(begin_ + first * kPageBytes + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) {
        const int os_error = errno;
        ::munmap(fresh, size);
        return os_failure("read the file", os_error);
      }
      if (got == 0) break;
      done += static_cast<std::uint64_t>(got);
    }
  } else {
    copy_pages(static_cast<std::byte*>(fresh), place, size);
  }
  // In one step: whoever reads there finds the same bytes before and after.
  if (::mremap(fresh, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, place) == MAP_FAILED) {
    const int os_error = errno;
    ::munmap(fresh, size);
    return os_failure("move tensors of a file that changes", os_error);
  }
  return {};
}

void MappedFile::give_up() noexcept {
  moved_.with([&](Moved& moved) {
    // A last look, while the bytes are surely those that were mapped: what else changed so far (its
    // mode, its links) is not taken for a reason of what changes from here on. If it fails, so will
    // the next one.
    static_cast<void>(pinned_.check(file_.get()));
    moved.has_lease = false;
    static_cast<void>(::fcntl(file_.get(), F_SETLEASE, F_UNLCK));
  });
}

}  // namespace streamer::core::inline engine
