// SPDX-License-Identifier: Apache-2.0
#include "storage/pull.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "base/chance.hpp"
#include "base/on_threads.hpp"
#include "base/text.hpp"
#include "base/unique_fd.hpp"

namespace streamer::core {

namespace {

constexpr std::uint64_t kStepBytes = 8 * kMiB;
constexpr std::size_t kThreads = 8;
constexpr std::string_view kPartialPrefix = ".streamer-";
constexpr std::string_view kPartialSuffix = ".partial";

bool matches(const std::vector<std::string>& patterns, const WantedFile& wanted) {
  const std::string key(wanted.entry.uri.key());
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    return glob_match(pattern, key) || glob_match(pattern, wanted.path);
  });
}

// The folder of a path below root, made if need be, one component at a time: a symbolic link that
// somebody planted on the way ends it.
Result<UniqueFd> open_parent(int root, std::string_view path) {
  UniqueFd folder(::openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return os_failure("opening the folder", errno);
  for (;;) {
    const std::size_t slash = path.find('/');
    if (slash == std::string_view::npos) return folder;
    const std::string name(path.substr(0, slash));
    path.remove_prefix(slash + 1);
    if (::mkdirat(folder.get(), name.c_str(), 0777) != 0 && errno != EEXIST)
      return os_failure("making the folder " + name, errno);
    UniqueFd below(
        ::openat(folder.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!below) {
      return os_failure(
          fmt::format("\"{}\" is in the way: it is no folder, or a symbolic link", name), errno);
    }
    folder = std::move(below);
  }
}

// What a pull that was killed left behind. One that still runs holds its file's lock.
void remove_leftovers(int folder) {
  const int copy = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return;
  struct Close {
    void operator()(DIR* stream) const noexcept { ::closedir(stream); }
  };
  const std::unique_ptr<DIR, Close> stream(::fdopendir(copy));
  if (!stream) return;
  while (const dirent* const entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (!name.starts_with(kPartialPrefix) || !name.ends_with(kPartialSuffix)) continue;
    const UniqueFd fd(::openat(folder, entry->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (fd && ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) ::unlinkat(folder, entry->d_name, 0);
  }
}

// A file that has no name of its own until it is whole.
class PartialFile {
 public:
  static Result<PartialFile> make(int folder) {
    for (int attempt = 0;; ++attempt) {
      PartialFile file;
      file.folder_ = folder;
      file.name_ = fmt::format("{}{}-{:08x}{}", kPartialPrefix, ::getpid(),
                               static_cast<unsigned>(chance() * 4294967295.0), kPartialSuffix);
      file.fd_ = UniqueFd(::openat(folder, file.name_.c_str(),
                                   O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
      if (file.fd_ && ::flock(file.fd_.get(), LOCK_EX) == 0) return file;
      if (errno == EEXIST && attempt < 100) continue;
      return os_failure("making a file", errno);
    }
  }

  PartialFile() = default;
  PartialFile(PartialFile&& other) noexcept
      : folder_(other.folder_), fd_(std::move(other.fd_)), name_(std::exchange(other.name_, {})) {}
  PartialFile& operator=(PartialFile&&) = delete;
  ~PartialFile() {
    if (!name_.empty()) ::unlinkat(folder_, name_.c_str(), 0);
  }

  Result<void> write(std::span<const std::byte> bytes) const {
    while (!bytes.empty()) {
      const ssize_t wrote = ::write(fd_.get(), bytes.data(), bytes.size());
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote < 0) return os_failure("writing the file", errno);
      bytes = bytes.subspan(static_cast<std::size_t>(wrote));
    }
    return {};
  }

  // On disk, and then under its name, in place of what was there.
  Result<void> become(const std::string& name) {
    if (::fsync(fd_.get()) != 0) return os_failure("writing the file to disk", errno);
    if (::renameat(folder_, name_.c_str(), folder_, name.c_str()) != 0)
      return os_failure("giving the file its name", errno);
    name_.clear();
    return {};
  }

 private:
  int folder_ = -1;
  UniqueFd fd_;
  std::string name_;
};

Result<PulledFile> pull_one(Stores& stores, int root, const WantedFile& wanted) {
  Store* const store = TRY(stores.of(wanted.entry.uri));
  const Opened opened = TRY(store->open(wanted.entry.uri, kStepBytes));
  const UniqueFd folder = TRY(open_parent(root, wanted.path));
  PartialFile file = TRY(PartialFile::make(folder.get()));
  TRY(file.write(opened.first));
  std::vector<std::byte> bytes;
  for (std::uint64_t done = opened.first.size(); done < opened.object.size;) {
    bytes.resize(std::min(kStepBytes, opened.object.size - done));
    TRY(store->read(opened.object, {done, bytes.size()}, bytes));
    TRY(file.write(bytes));
    done += bytes.size();
  }
  const std::size_t slash = wanted.path.rfind('/');
  TRY(file.become(wanted.path.substr(slash == std::string::npos ? 0 : slash + 1)));
  return PulledFile{wanted.path, opened.object.size, opened.object.etag};
}

Result<std::vector<WantedFile>> matching_files(Store& store, const Uri& uri, ListDepth depth,
                                               const PullOptions& options) {
  // "folder" and "folder/" are the same; what is a file is pulled under its own name.
  const std::string base =
      TRY(store.is_folder(uri)) ? child(uri, "").path() : folder_of(uri).path();
  std::vector<WantedFile> matching;
  for (Entry& entry : TRY(store.list(uri, depth))) {
    if (entry.is_folder) continue;
    std::string path = entry.uri.path();
    if (path.starts_with(base)) path.erase(0, base.size());
    WantedFile file{std::move(entry), std::move(path)};
    if (!options.allow.empty() && !matches(options.allow, file)) continue;
    if (!matches(options.ignore, file)) matching.push_back(std::move(file));
  }
  return matching;
}

}  // namespace

Result<std::vector<Entry>> matching_entries(Store& store, const Uri& uri, ListDepth depth,
                                            const PullOptions& options) {
  std::vector<Entry> matching;
  for (WantedFile& file : TRY(matching_files(store, uri, depth, options)))
    matching.push_back(std::move(file.entry));
  return matching;
}

Result<std::vector<WantedFile>> choose_files(Store& store, const Uri& uri,
                                             const PullOptions& options) {
  std::vector<WantedFile> chosen = TRY(matching_files(store, uri, ListDepth::all, options));
  const auto unsafe = std::find_if_not(
      chosen.begin(), chosen.end(), [](const WantedFile& file) { return is_safe_path(file.path); });
  if (unsafe == chosen.end()) return chosen;
  return Error(ErrorKind::invalid_argument,
               "the name of this object cannot be a path below the folder, so that nothing was "
               "pulled; leave it out with a pattern to ignore")
      .at(unsafe->entry.uri.text());
}

bool is_safe_path(std::string_view path) noexcept {
  constexpr std::size_t kLongestName = 255;
  if (path.find_first_of(std::string_view("\\\0", 2)) != std::string_view::npos) return false;
  for (;;) {
    const std::size_t slash = std::min(path.find('/'), path.size());
    const std::string_view component = path.substr(0, slash);
    const bool is_bad = component.empty() || component == "." || component == ".." ||
                        component.size() > kLongestName;
    if (is_bad) return false;
    if (slash == path.size()) return true;
    path.remove_prefix(slash + 1);
  }
}

Result<std::vector<PulledFile>> pull_files(Stores& stores, const std::vector<WantedFile>& wanted,
                                           const std::string& folder) {
  if (::mkdir(folder.c_str(), 0777) != 0 && errno != EEXIST)
    return os_failure("making the folder", errno).at(folder);
  const UniqueFd root(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root) return os_failure("opening the folder", errno).at(folder);
  remove_leftovers(root.get());
  const auto pull_wanted = [&](std::size_t i) {
    auto pulled = pull_one(stores, root.get(), wanted[i]);
    if (pulled || !pulled.error().fields().uri.empty()) return pulled;
    return std::move(pulled).at(wanted[i].entry.uri.text());
  };
  return on_threads<PulledFile>("streamer-pull", kThreads, wanted.size(), pull_wanted);
}

Result<std::vector<PulledFile>> pull(Stores& stores, const Uri& uri, const std::string& folder,
                                     const PullOptions& options) {
  Store* const store = TRY(stores.of(uri));
  const std::vector<WantedFile> wanted = TRY(choose_files(*store, uri, options));
  return pull_files(stores, wanted, folder);
}

}  // namespace streamer::core
