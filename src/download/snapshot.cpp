// SPDX-License-Identifier: Apache-2.0
#include "download/snapshot.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "base/crypto.hpp"
#include "base/environment.hpp"
#include "base/log.hpp"
#include "base/own_folder.hpp"
#include "base/unique_fd.hpp"
#include "download/snapshot_folder.hpp"
#include "storage/remote_store.hpp"

namespace streamer::core::inline download {

namespace {

namespace fs = std::filesystem;

constexpr int kMostAttempts = 3;
constexpr std::string_view kIncoming = ".incoming-";
constexpr FolderUse kSnapshot{.what = "the snapshot's folder", .setting = "cache_folder"};

PullOptions all_but_weights() {
  return {.allow = {},
          .ignore = {"*.safetensors", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.gguf", "*.h5",
                     "*.msgpack", "*.npz", "*.onnx", "*.onnx_data", "*.tensors"}};
}

Result<std::string> cache_folder(const std::string& given) {
  if (!given.empty()) return given;
  const Environment environment = process_environment();
  if (const auto cache = environment("XDG_CACHE_HOME")) return *cache + "/libstreamer";
  if (const auto home = environment("HOME")) return *home + "/.cache/libstreamer";
  return Error(ErrorKind::invalid_argument,
               "there is no folder to keep the files in; set cache_folder, XDG_CACHE_HOME or HOME");
}

// Without quotes, which a listing may omit, and without the mark of a weak ETag.
std::string_view opaque_tag(std::string_view etag) {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"')
    etag = etag.substr(1, etag.size() - 2);
  return etag;
}

// The folder name for the snapshots of a URI: its last component, for humans, and a hash that
// distinguishes it from every other URI, including the endpoint.
Result<std::string> model_folder(Store& store, const Uri& uri, const std::string& cache) {
  std::string_view path = uri.path();
  while (path.ends_with("/"))
    path.remove_suffix(1);
  const Uri bare = uri.with_path(std::string(path));
  const SignedRequest request = TRY(store.remote()->range_request(child(bare, "x"), {0, 1}, ""));
  std::string name(bare.last_component().substr(0, 64));
  std::replace_if(
      name.begin(), name.end(),
      [](unsigned char c) { return std::isalnum(c) == 0 && c != '.' && c != '_' && c != '-'; },
      '_');
  const std::string hash = hex(as_text(sha256(request.http.origin + "\n" + bare.text())));
  return fmt::format("{}/{}-{}", cache, name, hash.substr(0, 16));
}

Result<std::string> version_of(const std::vector<WantedFile>& wanted) {
  Sha256Hasher hasher;
  for (const WantedFile& file : wanted) {
    const std::string_view tag = opaque_tag(file.entry.etag);
    if (tag.empty()) {
      return Error(ErrorKind::unsupported,
                   "the store's listing has no ETag for it, so nothing would show when a snapshot "
                   "is out of date; pull the files instead")
          .at(file.entry.uri.text());
    }
    hasher.update(fmt::format("{}\n{}\n{}\n", file.path, tag, file.entry.size));
  }
  return hex(as_text(hasher.finish())).substr(0, 32);
}

// The permissions of folders in a shared cache must not depend on a umask.
constexpr mode_t kFolderMode = 0755;
constexpr mode_t kFileMode = 0644;

// Where the versions of one model are.
struct ModelFolder {
  UniqueFd fd;
  std::string path;
};

std::string digests_of(const std::string& version) {
  return "." + version + ".sha256";
}

// Files may have been removed since, and disks lose data.
Result<bool> is_whole(const ModelFolder& model, const std::string& version,
                      const std::vector<WantedFile>& wanted) {
  auto folder = open_own_folder(model.fd.get(), version, model.path + "/" + version, kSnapshot);
  if (!folder && folder.error().kind() == ErrorKind::not_found) return false;
  if (!folder) return std::move(folder).error();
  return digests_match(model.fd.get(), digests_of(version), folder->get(), wanted);
}

// Makes it and its parents if they do not exist.
Result<ModelFolder> open_model(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string cache = path.substr(0, slash);
  std::error_code failure;
  fs::create_directories(cache, failure);
  if (failure) return os_failure("create the folder", failure.value()).at(cache);
  const UniqueFd parent(::open(cache.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!parent) return os_failure("open the folder", errno).at(cache);
  const std::string name = path.substr(slash + 1);
  if (::mkdirat(parent.get(), name.c_str(), kFolderMode) != 0 && errno != EEXIST)
    return os_failure("create the folder", errno).at(path);
  return ModelFolder{TRY(open_own_folder(parent.get(), name, path, kSnapshot)), path};
}

// Removed with everything in it, unless become() gave it its final name.
class IncomingFolder {
 public:
  explicit IncomingFolder(const std::string& model)
      : path_(fmt::format("{}/{}{}", model, kIncoming, ::getpid())) {}
  IncomingFolder(const IncomingFolder&) = delete;
  IncomingFolder& operator=(const IncomingFolder&) = delete;
  ~IncomingFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }

  [[nodiscard]] const std::string& path() const noexcept { return path_; }

  Result<void> become(const std::string& folder) const {
    std::error_code failure;
    // An existing one is not complete.
    fs::remove_all(folder, failure);
    if (!failure) fs::rename(path_, folder, failure);
    if (failure) return os_failure("rename the folder", failure.value()).at(folder);
    return {};
  }

 private:
  const std::string path_;
};

// Removes leftovers of killed processes: a process that still needs its own holds the lock.
void remove_leftovers_of_snapshots(const std::string& model) {
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(model, ignored)) {
    if (entry.path().filename().string().starts_with(kIncoming))
      fs::remove_all(entry.path(), ignored);
  }
}

bool is_that_version(const PulledFile& pulled, const WantedFile& wanted) {
  if (pulled.bytes != wanted.entry.size) return false;
  // A store's answer to a range of an empty object has no ETag.
  const bool is_empty = pulled.bytes == 0 && pulled.etag.empty();
  return is_empty || opaque_tag(pulled.etag) == opaque_tag(wanted.entry.etag);
}

// false: an object is no longer what the listing said.
Result<bool> pull_version(Stores& stores, const std::vector<WantedFile>& wanted,
                          const ModelFolder& model, const std::string& version,
                          const PullTarget& target) {
  remove_leftovers_of_snapshots(model.path);
  const IncomingFolder incoming(model.path);
  PullOutcome pulled = TRY(pull_files(stores, wanted, incoming.path(), target));
  if (!pulled.failures.empty()) return std::move(pulled.failures.front());
  const bool is_as_listed =
      std::equal(pulled.files.begin(), pulled.files.end(), wanted.begin(), is_that_version);
  if (!is_as_listed) return false;
  const UniqueFd files(::open(incoming.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!files) return os_failure("open the folder", errno).at(incoming.path());
  TRY(write_digests(model.fd.get(), digests_of(version), files.get(), wanted, kFileMode));
  TRY(incoming.become(model.path + "/" + version));
  return true;
}

Snapshot snapshot_of(std::string folder, const std::vector<WantedFile>& wanted) {
  Snapshot snapshot{std::move(folder), {}};
  for (const WantedFile& file : wanted)
    snapshot.files.push_back({file.path, file.entry.size, file.entry.etag});
  return snapshot;
}

}  // namespace

Result<Snapshot> take_snapshot(Stores& stores, const Uri& uri, const SnapshotOptions& options) {
  Store* const store = TRY(stores.of(uri));
  const bool has_patterns = !options.files.allow.empty() || !options.files.ignore.empty();
  const PullOptions files = has_patterns ? options.files : all_but_weights();
  const PullTarget target{.skips_same = false,
                          .bandwidth_bytes_per_s = options.bandwidth_bytes_per_s,
                          .folder_mode = kFolderMode,
                          .file_mode = kFileMode};
  for (int attempt = 1;; ++attempt) {
    const std::vector<WantedFile> wanted = TRY(choose_files(*store, uri, files));
    if (wanted.empty()) {
      return Error(ErrorKind::not_found, "there is nothing under it that the patterns allow")
          .at(uri.text());
    }
    for (const WantedFile& file : wanted) {
      if (!is_safe_path(file.path)) return no_path_error(file);
    }
    if (store->remote() == nullptr) {
      const bool is_folder = TRY(store->is_folder(uri));
      return snapshot_of(is_folder ? uri.path() : folder_of(uri).path(), wanted);
    }
    const std::string cache = TRY(cache_folder(options.cache));
    const std::string path = TRY(model_folder(*store, uri, cache));
    const std::string version = TRY(version_of(wanted));
    const std::string folder = path + "/" + version;
    const ModelFolder model = TRY(open_model(path));
    if (TRY(is_whole(model, version, wanted))) return snapshot_of(folder, wanted);
    const UniqueFd lock = TRY(lock_folder(model.fd.get(), path));
    // Another process may have pulled it while this one waited for the lock.
    if (TRY(is_whole(model, version, wanted))) return snapshot_of(folder, wanted);
    const bool is_pulled = TRY(pull_version(stores, wanted, model, version, target));
    if (is_pulled) return snapshot_of(folder, wanted);
    if (attempt == kMostAttempts) {
      return Error(ErrorKind::object_changed,
                   fmt::format("objects under it were replaced while they were pulled, {} times; "
                               "try again once nothing writes to it",
                               attempt))
          .at(uri.text());
    }
    log_line(LogLevel::info, fmt::format("{} changed while it was pulled", uri.text()));
  }
}

}  // namespace streamer::core::inline download
