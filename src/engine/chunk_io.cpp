// SPDX-License-Identifier: Apache-2.0
#include "engine/chunk_io.hpp"

#include <fmt/format.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "storage/file_store.hpp"

namespace streamer::core::inline engine {

namespace {

// Pieces below this size cost more as entries of a scattered read than as copies.
constexpr std::uint64_t kSmallPieceBytes = 4 * kKiB;
constexpr std::size_t kMostIovecs = 256;

// The entries of one scattered read: the chunk's pieces from `from` on, and the bytes between them,
// which land in waste.
class Iovecs {
 public:
  Iovecs(Landing& landing, const Chunk& chunk, std::uint64_t from, std::span<std::byte> waste)
      : waste_(waste), at_(from) {
    landing.plan().for_each_piece(chunk, from, [&](const Piece& piece) {
      skip_to(piece.offset);
      if (at_ == piece.offset && add(landing.room_at(piece.place, piece.size), piece.size))
        at_ += piece.size;
    });
  }

  std::span<const iovec> entries() const { return {entries_.data(), count_}; }

 private:
  void skip_to(std::uint64_t offset) {
    while (at_ < offset) {
      const std::uint64_t step = std::min<std::uint64_t>(offset - at_, waste_.size());
      if (!add(waste_.data(), step)) return;
      at_ += step;
    }
  }

  bool add(std::byte* to, std::uint64_t size) {
    if (count_ == entries_.size()) return false;
    entries_[count_++] = {to, size};
    return true;
  }

  const std::span<std::byte> waste_;
  std::uint64_t at_;
  std::array<iovec, kMostIovecs> entries_;
  std::size_t count_ = 0;
};

Error truncated(const Chunk& chunk, const OpenFile& file, std::uint64_t end) {
  return Error(ErrorKind::object_changed,
               fmt::format("the file now ends at byte {} but had {} bytes when it was opened: it "
                           "was truncated while it was loaded; load it again once it is complete",
                           end, file.object->size))
      .at(file.object->uri.text(), {chunk.offset, chunk.size});
}

Error read_failure(const Chunk& chunk, const OpenFile& file, int os_error) {
  return os_failure("read the file", os_error)
      .at(file.object->uri.text(), {chunk.offset, chunk.size});
}

// Reads [offset, offset + size): completely, or as far as it got before a failure.
Result<void> read_fully(int fd, std::byte* to, const Chunk& chunk, const OpenFile& file) {
  for (std::uint64_t done = 0; done < chunk.size;) {
    const ssize_t got =
        ::pread(fd, to + done, chunk.size - done, static_cast<off_t>(chunk.offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return read_failure(chunk, file, errno);
    if (got == 0) return truncated(chunk, file, chunk.offset + done);
    done += static_cast<std::uint64_t>(got);
  }
  return {};
}

Result<void> read_in_place(Landing& landing, int fd, const Chunk& chunk, const OpenFile& file,
                           PageBuffer& bounce) {
  const std::span<std::byte> waste =
      chunk.pieces == 1 ? std::span<std::byte>() : TRY(bounce.get(64 * kKiB));
  // A read may be short, or the chunk may have more pieces than fit: the entries are made anew from
  // where the last read ended.
  for (std::uint64_t at = chunk.offset; at < chunk.end();) {
    const Iovecs iovecs(landing, chunk, at, waste);
    const auto entries = iovecs.entries();
    const ssize_t got =
        ::preadv(fd, entries.data(), static_cast<int>(entries.size()), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return read_failure(chunk, file, errno);
    if (got == 0) return truncated(chunk, file, at);
    at += static_cast<std::uint64_t>(got);
  }
  return {};
}

// Few large pieces are read to their places by one scattered read; many small ones in one go to a
// buffer, and copied from there.
Result<void> read_once(Landing& landing, int fd, const Chunk& chunk, const OpenFile& file,
                       PageBuffer& bounce, ReaderCounters& counters) {
  if (!needs_bounce(chunk)) return read_in_place(landing, fd, chunk, file, bounce);
  const std::span<std::byte> bytes = TRY(bounce.get(chunk.size));
  TRY(read_fully(fd, bytes.data(), chunk, file));
  scatter(landing, chunk, bytes, chunk.offset);
  add(counters.bytes_bounced, chunk.size);
  return {};
}

// read(fd), and once more if the first failure may be temporary: a disk fault, or a file server
// that has come back. The second time on a newly opened file that is still the pinned version.
template <typename Read>
Result<void> read_twice(const OpenFile& file, ReaderCounters& counters, Read&& read) {
  auto first = read(file.buffered.get());
  if (first) return first;
  const int os_error = first.error().fields().os_error;
  if (os_error != EIO && os_error != ESTALE) return first;
  add(counters.retries, 1);
  const UniqueFd again = TRY(open_pinned(*file.object));
  auto second = read(again.get());
  if (second) return second;
  return std::move(second).error().with_attempts(2);
}

}  // namespace

Result<std::span<std::byte>> PageBuffer::get(std::uint64_t bytes) {
  if (memory_.bytes() < bytes) {
    const std::uint64_t before = memory_.bytes();
    memory_ = Arena();  // released first: never both at once
    memory_ = TRY(Arena::reserve(bytes));
    add(counters_->buffer_bytes, memory_.bytes() - before);
  }
  return std::span<std::byte>(memory_.data(), memory_.bytes());
}

bool needs_bounce(const Chunk& chunk) noexcept {
  return chunk.pieces > 1 && chunk.size / chunk.pieces < kSmallPieceBytes;
}

void scatter(Landing& landing, const Chunk& chunk, std::span<const std::byte> bytes,
             std::uint64_t offset) {
  landing.plan().for_each_piece(chunk, chunk.offset, [&](const Piece& piece) {
    std::memcpy(landing.room_at(piece.place, piece.size), bytes.data() + (piece.offset - offset),
                piece.size);
  });
}

Result<void> read_chunk(Landing& landing, const Chunk& chunk, const OpenFile& file,
                        PageBuffer& bounce, ReaderCounters& counters) {
  return read_twice(file, counters,
                    [&](int fd) { return read_once(landing, fd, chunk, file, bounce, counters); });
}

Result<void> read_chunk_to(std::byte* to, const Chunk& chunk, const OpenFile& file,
                           ReaderCounters& counters) {
  return read_twice(file, counters, [&](int fd) { return read_fully(fd, to, chunk, file); });
}

}  // namespace streamer::core::inline engine
