// SPDX-License-Identifier: Apache-2.0
#include "download/snapshot_folder.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <map>

#include "base/crypto.hpp"
#include "base/log.hpp"
#include "base/operation.hpp"
#include "base/text.hpp"
#include "download/partial_file.hpp"
#include "download/same_file.hpp"

namespace streamer::core::inline download {

namespace {

constexpr std::chrono::milliseconds kLookEvery{20};
constexpr std::chrono::seconds kWarnAfter{3};
constexpr std::chrono::seconds kWarnAgain{30};

// Below an open folder, through no symbolic link at all.
UniqueFd open_below(int folder, std::string_view path) {
  UniqueFd at(::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (;;) {
    const std::size_t slash = path.find('/');
    const std::string name(path.substr(0, slash));
    const int flags = slash == std::string_view::npos ? O_NONBLOCK : O_DIRECTORY;
    at = UniqueFd(::openat(at.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | flags));
    if (!at || slash == std::string_view::npos) return at;
    path.remove_prefix(slash + 1);
  }
}

// Hexadecimal; nullopt if there is no such regular file of that size, or it cannot be read.
Result<std::optional<std::string>> digest_of(int files, const WantedFile& wanted) {
  const UniqueFd fd = open_below(files, wanted.path);
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
      static_cast<std::uint64_t>(status.st_size) != wanted.entry.size) {
    return std::optional<std::string>();
  }
  Sha256Hasher hasher;
  const bool is_read =
      TRY(read_whole(fd.get(), [&](std::string_view bytes) { hasher.update(bytes); }));
  if (!is_read) return std::optional<std::string>();
  return std::optional(hex(as_text(hasher.finish())));
}

// "process 123 (python3)", as the lock's file says it.
std::string holder_of(int lock) {
  std::array<char, 16> text{};
  const ssize_t size = ::pread(lock, text.data(), text.size(), 0);
  const auto pid =
      parse_unsigned(trim({text.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))}));
  if (!pid) return "another process";
  const UniqueFd name(::open(fmt::format("/proc/{}/comm", *pid).c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 32> comm{};
  const ssize_t length = name ? ::read(name.get(), comm.data(), comm.size()) : 0;
  if (length <= 0) return fmt::format("process {}, perhaps of another machine,", *pid);
  return fmt::format("process {} ({})", *pid,
                     trim({comm.data(), static_cast<std::size_t>(length)}));
}

}  // namespace

Result<UniqueFd> lock_folder(int folder, const std::string& path) {
  const std::string lock_path = path + "/.lock";
  UniqueFd lock(::openat(folder, ".lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!lock) return os_failure("open the lock", errno).at(lock_path);
  const SteadyTime began = std::chrono::steady_clock::now();
  SteadyTime warn_at = began + kWarnAfter;
  while (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR)
      return os_failure("take the lock", errno).at(lock_path);
    const SteadyTime now = std::chrono::steady_clock::now();
    auto waited = pause_for(kLookEvery, "waiting for the lock");
    if (!waited) {
      return still_wanted(fmt::format("waiting for the lock {}, which {} holds", lock_path,
                                      holder_of(lock.get())),
                          began)
          .error()
          .copy();
    }
    if (now < warn_at) continue;
    warn_at = now + kWarnAgain;
    log_line(LogLevel::warning,
             fmt::format("waiting for the lock {}, which {} has held for at least {} s; it is "
                         "still pulling, or it is stopped and must be killed",
                         lock_path, holder_of(lock.get()),
                         std::chrono::duration_cast<std::chrono::seconds>(now - began).count()));
  }
  // Names the holder, for processes that wait. If it cannot be written, they only learn less.
  const std::string holder = fmt::format("{}\n", ::getpid());
  if (::ftruncate(lock.get(), 0) == 0)
    static_cast<void>(!::pwrite(lock.get(), holder.data(), holder.size(), 0));
  return lock;
}

Result<void> write_digests(int folder, const std::string& name, int files,
                           const std::vector<WantedFile>& wanted, mode_t mode) {
  std::string text;
  for (const WantedFile& file : wanted) {
    const auto digest = TRY(digest_of(files, file));
    if (!digest) {
      return Error(ErrorKind::io, "a file that was just pulled is gone").at(file.entry.uri.text());
    }
    text += fmt::format("{}  {}\n", *digest, file.path);
  }
  PartialFile list = TRY(PartialFile::make(folder, mode));
  TRY(list.write(std::as_bytes(std::span(text.data(), text.size()))));
  return list.become(name);
}

Result<bool> digests_match(int folder, const std::string& name, int files,
                           const std::vector<WantedFile>& wanted) {
  const UniqueFd fd = open_below(folder, name);
  std::string text;
  if (!fd || !TRY(read_whole(fd.get(), [&](std::string_view bytes) { text += bytes; })))
    return false;
  std::map<std::string_view, std::string_view> digests;
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    const std::size_t blanks = line.find("  ");
    if (blanks != std::string_view::npos)
      digests.insert_or_assign(line.substr(blanks + 2), line.substr(0, blanks));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  for (const WantedFile& file : wanted) {
    const auto listed = digests.find(file.path);
    if (listed == digests.end()) return false;
    const auto digest = TRY(digest_of(files, file));
    if (!digest || *digest != listed->second) return false;
  }
  return true;
}

}  // namespace streamer::core::inline download
