// SPDX-License-Identifier: Apache-2.0
#include "download/same_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <functional>
#include <vector>

#include "base/checksum.hpp"
#include "base/crypto.hpp"
#include "base/operation.hpp"
#include "base/text.hpp"
#include "base/unique_fd.hpp"
#include "storage/remote_store.hpp"

namespace streamer::core::inline download {

namespace {

constexpr const char* kAttribute = "user.libstreamer";
constexpr std::size_t kComparedBytes = kMiB;

// Objects of the same name in different stores are different. Empty if the store cannot be
// determined.
std::string origin_of(Store& store, const Uri& uri) {
  if (store.remote() == nullptr) return {};
  const auto request = store.remote()->range_request(uri, {0, 1}, "");
  if (!request) return {};
  const std::string text = request->http.origin + "\n" + uri.text();
  return hex(as_text(sha256(text))).substr(0, 32);
}

// An ETag that two versions never share. Listings may omit the quotes.
std::string strong_tag(std::string_view etag) {
  if (etag.starts_with("W/")) return {};
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"')
    etag = etag.substr(1, etag.size() - 2);
  return std::string(etag);
}

// The note without its checksum, which follows.
std::string note_of(const std::string& origin, const std::string& tag, std::uint64_t size) {
  return fmt::format("1 {} {} {} ", origin, size, hex(tag));
}

std::string noted(int fd) {
  std::array<char, 1024> text{};
  const ssize_t size = ::fgetxattr(fd, kAttribute, text.data(), text.size());
  return size <= 0 ? std::string() : std::string(text.data(), static_cast<std::size_t>(size));
}

bool is_md5(std::string_view tag) {
  return tag.size() == 32 &&
         std::all_of(tag.begin(), tag.end(), [](unsigned char c) { return std::isxdigit(c) != 0; });
}

Result<std::optional<std::string>> sum_of(int fd, ChecksumKind kind) {
  std::uint64_t crc = 0;
  Sha256Hasher sha;
  const bool is_sha = kind == ChecksumKind::sha256;
  const bool is_read = TRY(read_whole(fd, [&](std::string_view bytes) {
    if (is_sha) {
      sha.update(bytes);
    } else {
      crc = crc_update(kind, crc, bytes);
    }
  }));
  if (!is_read) return std::optional<std::string>();
  return std::optional(is_sha ? std::string(as_text(sha.finish())) : crc_bytes(kind, crc));
}

Result<std::optional<std::string>> md5_of(int fd) {
  Md5Hasher md5;
  const bool is_read = TRY(read_whole(fd, [&](std::string_view bytes) { md5.update(bytes); }));
  if (!is_read) return std::optional<std::string>();
  return md5.finish_hex();
}

}  // namespace

Result<bool> read_whole(int fd, const std::function<void(std::string_view)>& take) {
  std::vector<char> buffer(kComparedBytes);
  for (off_t at = 0;;) {
    TRY(still_wanted("reading an existing file"));
    const ssize_t got = ::pread(fd, buffer.data(), buffer.size(), at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return false;
    if (got == 0) return true;
    take({buffer.data(), static_cast<std::size_t>(got)});
    at += got;
  }
}

Result<bool> is_same_file(int folder, const std::string& name, Store& store, const Entry& entry) {
  const std::string tag = strong_tag(entry.etag);
  if (tag.empty() || store.remote() == nullptr) return false;
  const UniqueFd fd(::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
      static_cast<std::uint64_t>(status.st_size) != entry.size) {
    return false;
  }
  const std::string note = noted(fd.get());
  const std::string known = note_of(origin_of(store, entry.uri), tag, entry.size);
  // The note says which version was pulled, but the file may have been written to since.
  if (note.size() > known.size() && note.starts_with(known)) {
    const auto sum = TRY(sum_of(fd.get(), ChecksumKind::crc64nvme));
    return sum && note.substr(known.size()) == hex(*sum);
  }
  // An ETag of this form is not always an MD5 of the bytes (the object may be encrypted), so a
  // mismatch proves nothing.
  if (is_md5(tag)) {
    const auto md5 = TRY(md5_of(fd.get()));
    if (md5 && equal_ignoring_case(*md5, tag)) return true;
  }
  const Object pinned{
      .uri = entry.uri, .size = entry.size, .version = {}, .etag = entry.etag, .last_modified = {}};
  const auto stored = store.stored_checksum(pinned);
  TRY(still_wanted("comparing an existing file"));
  if (!stored || !stored->expected) return false;
  const auto sum = TRY(sum_of(fd.get(), stored->expected->kind));
  return sum && *sum == stored->expected->bytes;
}

void note_origin(int fd, Store& store, const Object& object, std::uint64_t crc64nvme) {
  const std::string tag = strong_tag(object.etag);
  const std::string origin = origin_of(store, object.uri);
  if (tag.empty() || origin.empty()) return;
  const std::string note =
      note_of(origin, tag, object.size) + hex(crc_bytes(ChecksumKind::crc64nvme, crc64nvme));
  // Failures are ignored: the note may not fit, or the file system may not support it.
  static_cast<void>(::fsetxattr(fd, kAttribute, note.data(), note.size(), 0));
}

}  // namespace streamer::core::inline download
