// SPDX-License-Identifier: Apache-2.0
#pragma once
// Listing and copying what is stored, without opening a checkpoint. An operation, if given, cancels
// a call or limits its time.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "device.hpp"
#include "operation.hpp"
#include "result.hpp"
#include "settings.hpp"

namespace streamer {

struct Entry {
  std::string uri;  // ends in '/' for a folder
  std::uint64_t bytes = 0;
  bool is_folder = false;
  std::string etag;  // as the store writes it; empty for folders and files, or if it sends none
};

namespace detail {

struct CloseListing {
  void operator()(streamer_listing* listing) const noexcept { streamer_listing_close(listing); }
};

inline std::vector<Entry> entries_of(streamer_listing* opened) {
  const std::unique_ptr<streamer_listing, CloseListing> listing(opened);
  std::vector<Entry> entries;
  for (std::size_t i = 0; i < streamer_listing_count(opened); ++i) {
    streamer_entry_info info = STREAMER_ENTRY_INFO_INIT;
    streamer_listing_get_info(opened, i, &info, nullptr);
    entries.push_back({info.uri, info.bytes, info.is_folder != 0, info.etag});
  }
  return entries;
}

}  // namespace detail

// Lists what is directly under a URI, sorted by URI; for a file, the file itself.
inline Result<std::vector<Entry>> list(const std::string& uri, const Settings& settings = {},
                                       const Operation* operation = nullptr) {
  streamer_listing* opened = nullptr;
  streamer_error* error = nullptr;
  if (streamer_listing_open(uri.c_str(), settings.get(), detail::handle_of(operation), &opened,
                            &error) != STREAMER_OK)
    return Error(error);
  return detail::entries_of(opened);
}

// Lists everything below uri, without folders.
inline Result<std::vector<Entry>> list_all(const std::string& uri, const Settings& settings = {},
                                           const Operation* operation = nullptr) {
  streamer_listing* opened = nullptr;
  streamer_error* error = nullptr;
  if (streamer_listing_open_all(uri.c_str(), settings.get(), detail::handle_of(operation), &opened,
                                &error) != STREAMER_OK)
    return Error(error);
  return detail::entries_of(opened);
}

// What Checkpoint::open() would open.
struct ModelListing {
  std::string folder;          // of the objects
  std::vector<Entry> objects;  // empty: the folder holds no model
  std::string notes;           // what was left out, or why there is nothing: one line each
};

// Lists the objects of a model, given by its folder, its index or one file, without reading their
// headers. Fails where Checkpoint::open() would: a missing shard, two models in one folder.
inline Result<ModelListing> list_model(const std::string& uri, const Settings& settings = {},
                                       const Operation* operation = nullptr) {
  streamer_listing* opened = nullptr;
  streamer_error* error = nullptr;
  if (streamer_listing_open_model(uri.c_str(), settings.get(), detail::handle_of(operation),
                                  &opened, &error) != STREAMER_OK)
    return Error(error);
  ModelListing model{streamer_listing_root(opened), {}, streamer_listing_notes(opened)};
  model.objects = detail::entries_of(opened);
  return model;
}

// fnmatch(3) patterns, matched against the key and the path below the URI; '*' also matches '/'.
struct PullOptions {
  std::vector<std::string> allow;   // if any are given, one must match
  std::vector<std::string> ignore;  // none may match
};

namespace detail {

// The patterns of PullOptions in C's form; must live while they are used.
class CPullOptions {
 public:
  explicit CPullOptions(const PullOptions& options)
      : allow_(pointers(options.allow)), ignore_(pointers(options.ignore)) {
    given_.allow = allow_.data();
    given_.allow_count = allow_.size();
    given_.ignore = ignore_.data();
    given_.ignore_count = ignore_.size();
  }
  CPullOptions(const CPullOptions&) = delete;
  CPullOptions& operator=(const CPullOptions&) = delete;

  [[nodiscard]] const streamer_pull_options* get() const noexcept { return &given_; }

 private:
  static std::vector<const char*> pointers(const std::vector<std::string>& texts) {
    std::vector<const char*> all;
    for (const std::string& text : texts)
      all.push_back(text.c_str());
    return all;
  }

  std::vector<const char*> allow_;
  std::vector<const char*> ignore_;
  streamer_pull_options given_ = STREAMER_PULL_OPTIONS_INIT;
};

}  // namespace detail

// A local file of a pull or a snapshot.
struct PulledFile {
  std::string path;
  std::uint64_t bytes = 0;
  std::string etag;        // of the object, as the store writes it; empty if it sends none
  bool was_there = false;  // the file already had the same bytes and was not copied
};

namespace detail {

struct CloseFiles {
  void operator()(streamer_files* files) const noexcept { streamer_files_close(files); }
};
using Files = std::unique_ptr<streamer_files, CloseFiles>;

inline std::vector<PulledFile> files_of(const streamer_files* files) {
  std::vector<PulledFile> all;
  for (std::size_t i = 0; i < streamer_files_count(files); ++i) {
    streamer_file_info info = STREAMER_FILE_INFO_INIT;
    streamer_files_get_info(files, i, &info, nullptr);
    all.push_back({info.path, info.bytes, info.etag, info.was_there != 0});
  }
  return all;
}

}  // namespace detail

// Copies every selected object below uri to folder. Each file appears whole or not at all; an
// existing file that has the object's bytes is left alone. An error that concerns one object only
// is returned at the end. Returns the files.
inline Result<std::vector<PulledFile>> pull(const std::string& uri, const std::string& folder,
                                            const PullOptions& options = {},
                                            const Settings& settings = {},
                                            const Operation* operation = nullptr) {
  const detail::CPullOptions given(options);
  streamer_files* pulled = nullptr;
  streamer_error* error = nullptr;
  if (streamer_pull(uri.c_str(), folder.c_str(), given.get(), settings.get(),
                    detail::handle_of(operation), &pulled, &error) != STREAMER_OK) {
    return Error(error);
  }
  return detail::files_of(detail::Files(pulled).get());
}

struct Snapshot {
  std::string folder;  // never changes again
  std::vector<PulledFile> files;
};

// Keeps a model's small files (configuration, tokenizer, index), all of one version, in a local
// folder: made once below the setting cache_folder, whole, under a lock that other processes wait
// for. Without a pattern everything is pulled except files named like weights. A local folder is
// its own snapshot.
inline Result<Snapshot> snapshot(const std::string& uri, const PullOptions& options = {},
                                 const Settings& settings = {},
                                 const Operation* operation = nullptr) {
  const detail::CPullOptions given(options);
  streamer_files* taken = nullptr;
  streamer_error* error = nullptr;
  if (streamer_snapshot(uri.c_str(), given.get(), settings.get(), detail::handle_of(operation),
                        &taken, &error) != STREAMER_OK)
    return Error(error);
  const detail::Files files(taken);
  return Snapshot{streamer_files_folder(taken), detail::files_of(taken)};
}

enum class CacheTask : streamer_cache_task {
  list = STREAMER_CACHE_LIST,
  verify = STREAMER_CACHE_VERIFY,
  remove = STREAMER_CACHE_REMOVE,
};

// Does the task for each version of an object in the folder of the setting cache_weights, and calls
// callback after each, on this thread. uri: only for that one, or for those below it if it ends
// with a slash; empty: for all. callback must not throw.
inline Result<void> walk_cache(CacheTask task, const std::string& uri,
                               streamer_cached_callback callback, void* user,
                               const Settings& settings = {},
                               const Operation* operation = nullptr) {
  streamer_error* error = nullptr;
  if (streamer_cache_walk(static_cast<streamer_cache_task>(task),
                          uri.empty() ? nullptr : uri.c_str(), settings.get(),
                          detail::handle_of(operation), callback, user, &error) != STREAMER_OK)
    return Error(error);
  return {};
}

// Tries each step on the way to the bytes of uri and calls callback for each, on this thread; the
// first failure ends it and is returned. callback must not throw.
inline Result<void> diagnose(const std::string& uri, streamer_step_callback callback, void* user,
                             const Settings& settings = {}, const Operation* operation = nullptr) {
  streamer_error* error = nullptr;
  if (streamer_diagnose(uri.c_str(), settings.get(), detail::handle_of(operation), callback, user,
                        &error) != STREAMER_OK)
    return Error(error);
  return {};
}

// The same for a device's memory: driver, device, context, pinned memory, bytes there and back,
// copy rate, NUMA distance. Takes about a second.
inline Result<void> diagnose_device(Device device, streamer_step_callback callback, void* user,
                                    const Operation* operation = nullptr) {
  streamer_error* error = nullptr;
  if (streamer_diagnose_device(device.c(), detail::handle_of(operation), callback, user, &error) !=
      STREAMER_OK)
    return Error(error);
  return {};
}

}  // namespace streamer
