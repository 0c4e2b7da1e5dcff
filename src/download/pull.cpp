// SPDX-License-Identifier: Apache-2.0
#include "download/pull.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <filesystem>

#include "base/checksum.hpp"
#include "base/on_threads.hpp"
#include "base/operation.hpp"
#include "base/text.hpp"
#include "base/throttle.hpp"
#include "base/unique_fd.hpp"
#include "download/partial_file.hpp"
#include "download/same_file.hpp"

namespace streamer::core::inline download {

namespace {

constexpr std::uint64_t kStepBytes = 8 * kMiB;
constexpr std::size_t kThreads = 8;
// How often an object that is replaced while it is read is read again.
constexpr int kAttemptsAtChanging = 3;
// If this many objects fail, the cause is not the objects.
constexpr std::uint32_t kMostFailures = 100;

bool matches(const std::vector<std::string>& patterns, const WantedFile& wanted) {
  const std::string key(wanted.entry.uri.key());
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    return glob_match(pattern, key) || glob_match(pattern, wanted.path);
  });
}

// The folder of a path below root, made if it does not exist, one component at a time: a symbolic
// link on the way ends it, because it could lead anywhere.
Result<UniqueFd> open_parent(int root, std::string_view path, mode_t folder_mode) {
  UniqueFd folder(::openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return os_failure("open the folder", errno);
  for (;;) {
    const std::size_t slash = path.find('/');
    if (slash == std::string_view::npos) return folder;
    const std::string name(path.substr(0, slash));
    path.remove_prefix(slash + 1);
    if (::mkdirat(folder.get(), name.c_str(), folder_mode) != 0 && errno != EEXIST)
      return os_failure("create the folder " + name, errno);
    UniqueFd below(
        ::openat(folder.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!below) {
      return os_failure(
          fmt::format("enter \"{}\", which is not a folder or is a symbolic link", name), errno);
    }
    folder = std::move(below);
  }
}

// With a bandwidth cap, each request takes about a quarter of a second.
std::uint64_t step_bytes(std::uint64_t bandwidth_bytes_per_s) {
  if (bandwidth_bytes_per_s == 0) return kStepBytes;
  return std::clamp<std::uint64_t>(std::bit_floor(bandwidth_bytes_per_s / 4), 16 * kKiB,
                                   kStepBytes);
}

// State shared by the threads of one pull.
class Puller {
 public:
  Puller(Stores& stores, int root, const std::string& folder, const PullTarget& target)
      : stores_(stores),
        root_(root),
        folder_(folder),
        target_(target),
        step_bytes_(step_bytes(target.bandwidth_bytes_per_s)),
        throttle_(target.bandwidth_bytes_per_s) {
    const Work* const work = current_work();
    if (work != nullptr && work->operation() != nullptr) progress_ = &work->operation()->progress();
  }

  void announce(const std::vector<WantedFile>& wanted) {
    std::uint64_t bytes = 0;
    std::uint64_t files = 0;
    for (const WantedFile& file : wanted) {
      if (!is_safe_path(file.path)) continue;  // will fail, without a byte read
      bytes += file.entry.size;
      ++files;
    }
    progress_->bytes_total.fetch_add(bytes, std::memory_order_relaxed);
    progress_->files_total.fetch_add(files, std::memory_order_relaxed);
  }

  Result<PulledFile> pull(const WantedFile& wanted) {
    Store* const store = TRY(stores_.of(wanted.entry.uri));
    const UniqueFd folder = TRY(open_parent(root_, wanted.path, target_.folder_mode));
    const std::size_t slash = wanted.path.rfind('/');
    const std::string name = wanted.path.substr(slash == std::string::npos ? 0 : slash + 1);
    if (target_.skips_same) {
      const bool is_same = TRY(is_same_file(folder.get(), name, *store, wanted.entry));
      if (is_same) {
        count(wanted.entry.size);
        progress_->bytes_skipped.fetch_add(wanted.entry.size, std::memory_order_relaxed);
        progress_->files_skipped.fetch_add(1, std::memory_order_relaxed);
        progress_->files_done.fetch_add(1, std::memory_order_relaxed);
        return PulledFile{wanted.path, wanted.entry.size, wanted.entry.etag, true};
      }
    }
    PartialFile file = TRY(PartialFile::make(folder.get(), target_.file_mode));
    for (int attempt = 1;; ++attempt) {
      std::uint64_t counted = 0;
      auto copied = copy(*store, wanted, file, counted);
      const bool has_changed = !copied && copied.error().kind() == ErrorKind::object_changed;
      if (!copied && (!has_changed || attempt == kAttemptsAtChanging))
        return std::move(copied).error();
      if (copied) {
        TRY(file.become(name));
        progress_->files_done.fetch_add(1, std::memory_order_relaxed);
        return copied;
      }
      // The bytes of the old version are read again as those of the new one: count them once.
      progress_->bytes_done.fetch_sub(counted, std::memory_order_relaxed);
      TRY(file.clear());
    }
  }

 private:
  // About the place where the file was to be: nothing is wrong with the object.
  [[nodiscard]] Error not_written(const Error& error, const WantedFile& wanted) const {
    ErrorFields fields = error.fields();
    struct statvfs place {};
    if (fields.os_error == ENOSPC && ::fstatvfs(root_, &place) == 0) {
      fields.message += fmt::format(
          "; the file needs {}, and {} are free there: free some, or pull to another folder",
          format_bytes(wanted.entry.size), format_bytes(place.f_bavail * place.f_frsize));
    }
    return Error(std::move(fields)).at(fmt::format("{}/{}", folder_, wanted.path));
  }

  // Waits until the bandwidth cap allows the next step.
  Result<void> wait_for_bandwidth(std::uint64_t bytes) {
    if (!throttle_.is_on()) return {};
    const SteadyTime now = std::chrono::steady_clock::now();
    return pause_for(throttle_.reserve(bytes, now) - now, "waiting for max_bandwidth");
  }

  void count(std::uint64_t bytes) {
    progress_->bytes_done.fetch_add(bytes, std::memory_order_relaxed);
  }

  Result<PulledFile> copy(Store& store, const WantedFile& wanted, PartialFile& file,
                          std::uint64_t& counted) {
    std::uint64_t crc = 0;
    const auto take = [&](std::span<const std::byte> bytes) -> Result<void> {
      crc = crc_update(ChecksumKind::crc64nvme, crc,
                       {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
      auto written = file.write(bytes);
      if (!written) return not_written(written.error(), wanted);
      counted += bytes.size();
      count(bytes.size());
      return {};
    };
    TRY(wait_for_bandwidth(std::min(step_bytes_, wanted.entry.size)));
    const Opened opened = TRY(store.open(wanted.entry.uri, step_bytes_));
    TRY(take(opened.first));
    std::vector<std::byte> bytes;
    while (counted < opened.object.size) {
      bytes.resize(std::min(step_bytes_, opened.object.size - counted));
      TRY(wait_for_bandwidth(bytes.size()));
      TRY(store.read(opened.object, {counted, bytes.size()}, bytes));
      TRY(take(bytes));
    }
    if (target_.skips_same) note_origin(file.fd(), store, opened.object, crc);
    return PulledFile{wanted.path, opened.object.size, opened.object.etag, false};
  }

  Stores& stores_;
  const int root_;
  const std::string& folder_;
  const PullTarget& target_;
  const std::uint64_t step_bytes_;
  Throttle throttle_;
  Progress unseen_;  // where nobody asks
  Progress* progress_ = &unseen_;
};

// Whether other objects may still succeed.
bool is_about_the_object(const Error& error) {
  // A folder that cannot be written to affects every file, so it ends the pull.
  const int local = error.fields().os_error;
  if (local == EACCES || local == EPERM || local == EROFS) return false;
  switch (error.kind()) {
    case ErrorKind::invalid_argument:
    case ErrorKind::unsupported:
    case ErrorKind::not_found:
    case ErrorKind::permission_denied:
    case ErrorKind::object_changed:
    case ErrorKind::corrupt:
      return !is_work_over();
    default:
      return false;
  }
}

Result<std::vector<WantedFile>> matching_files(Store& store, const Uri& uri, ListDepth depth,
                                               const PullOptions& options) {
  // "folder" and "folder/" are the same; a file is pulled under its own name.
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
  return matching_files(store, uri, ListDepth::all, options);
}

std::string_view why_no_path(std::string_view path) noexcept {
  constexpr std::size_t kLongestName = 255;
  if (path.find('\\') != std::string_view::npos) return "it has a backslash";
  if (path.find('\0') != std::string_view::npos) return "it has a NUL";
  if (path.empty() || path.ends_with("/")) return "it ends in a slash, as a folder does";
  for (;;) {
    const std::size_t slash = std::min(path.find('/'), path.size());
    const std::string_view component = path.substr(0, slash);
    if (component.empty()) return "it has nothing between two slashes, or before the first";
    if (component == "." || component == "..") return "it has a component \".\" or \"..\"";
    if (component.size() > kLongestName) return "it has a component of more than 255 bytes";
    if (slash == path.size()) return {};
    path.remove_prefix(slash + 1);
  }
}

Error no_path_error(const WantedFile& file) {
  return Error(ErrorKind::invalid_argument,
               fmt::format("the name of this object cannot be a path below the folder: {}; exclude "
                           "it with an ignore pattern, or rename it",
                           why_no_path(file.path)))
      .at(file.entry.uri.text());
}

Result<PullOutcome> pull_files(Stores& stores, const std::vector<WantedFile>& wanted,
                               const std::string& folder, const PullTarget& target) {
  std::error_code failure;
  // Empty for a folder that is to be where the program is.
  if (const auto parent = std::filesystem::path(folder).parent_path(); !parent.empty())
    std::filesystem::create_directories(parent, failure);
  if (failure) return os_failure("create the folder that it is in", failure.value()).at(folder);
  if (::mkdir(folder.c_str(), target.folder_mode) != 0 && errno != EEXIST)
    return os_failure("create the folder", errno).at(folder);
  const UniqueFd root(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root) return os_failure("open the folder", errno).at(folder);
  remove_leftovers(root.get());
  Puller puller(stores, root.get(), folder, target);
  puller.announce(wanted);
  struct Outcome {
    std::optional<PulledFile> file;
    std::optional<Error> failure;
  };
  std::atomic<std::uint32_t> failures{0};
  const auto pull_wanted = [&](std::size_t i) -> Result<Outcome> {
    const WantedFile& file = wanted[i];
    auto pulled = [&]() -> Result<PulledFile> {
      if (!is_safe_path(file.path)) return no_path_error(file);
      auto one = puller.pull(file);
      if (one || !one.error().fields().uri.empty()) return one;
      return std::move(one).at(file.entry.uri.text());
    }();
    if (pulled) return Outcome{*std::move(pulled), std::nullopt};
    // relaxed: only counts.
    const bool goes_on = is_about_the_object(pulled.error()) &&
                         failures.fetch_add(1, std::memory_order_relaxed) < kMostFailures;
    if (!goes_on) return std::move(pulled).error();
    return Outcome{std::nullopt, std::move(pulled).error()};
  };
  PullOutcome outcome;
  for (Outcome& one :
       TRY(on_threads<Outcome>("streamer-pull", kThreads, wanted.size(), pull_wanted))) {
    if (one.file) outcome.files.push_back(*std::move(one.file));
    if (one.failure) outcome.failures.push_back(*std::move(one.failure));
  }
  return outcome;
}

Result<std::vector<PulledFile>> pull(Stores& stores, const Uri& uri, const std::string& folder,
                                     const PullOptions& options, const PullTarget& target) {
  Store* const store = TRY(stores.of(uri));
  const std::vector<WantedFile> wanted = TRY(choose_files(*store, uri, options));
  PullOutcome outcome = TRY(pull_files(stores, wanted, folder, target));
  if (outcome.failures.empty()) return std::move(outcome.files);
  ErrorFields fields = outcome.failures.front().fields();
  constexpr std::size_t kMostNamed = 10;
  const std::size_t named = std::min(outcome.failures.size(), kMostNamed);
  for (std::size_t i = 1; i < named; ++i)
    fields.message += fmt::format("; {}", outcome.failures[i].line());
  if (outcome.failures.size() > named)
    fields.message += fmt::format("; and {} more", outcome.failures.size() - named);
  fields.message +=
      fmt::format("; the other {} of {} objects were pulled", outcome.files.size(), wanted.size());
  return Error(std::move(fields));
}

}  // namespace streamer::core::inline download
