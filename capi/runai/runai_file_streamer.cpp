// SPDX-License-Identifier: Apache-2.0
#include "runai_file_streamer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <map>
#include <set>
#include <string_view>

#include "base/text.hpp"
#include "download/pull.hpp"
#include "engine/load_settings.hpp"
#include "runai.h"
#include "runai_credentials.hpp"
#include "runai_queue.hpp"
#include "runai_submission.hpp"
#include "storage/file_store.hpp"

using namespace streamer::capi;
namespace core = streamer::core;

namespace {

// Of the codes that 0.15 does not have, from 14 on. They begin as programs know them.
constexpr std::array<const char*, 15> kLaterTexts = {
    "Azure Blob not supported",
    "Object storage returned an unexpected number of bytes",
    "Timed out waiting for a response",
    "Streamer is locked to a single object-storage backend: files and objects of several kinds of "
    "stores cannot be in one submission",
    "Credentials were already set to a different value; make a new streamer for these",
    "Retryable object storage file access error",
    "The filesystem read strategy was already set to a different value; set it once, before files "
    "are read",
    "None of the filesystem read strategies in the list can be had on this machine",
    "The asynchronous filesystem reader for this mount failed; ask for the ranges again",
    "The requested device type is not supported",
    "No usable device is present",
    "There is no device with the requested ordinal",
    "An allocation on the device path was refused",
    "The transfer to the device failed",
    "The device driver failed",
};
constexpr int kFirstLaterCode = 14;

// "direct" or "buffered", by the first of the names.
Result<std::string> file_io_of(std::string_view candidates) {
  const std::map<std::string_view, const char*> known = {{"io_uring_direct", "direct"},
                                                         {"libaio_direct", "direct"},
                                                         {"io_uring_buffered", "buffered"},
                                                         {"sync_buffered", "buffered"}};
  std::string chosen;
  std::set<std::string_view> seen;
  for (std::string_view rest = candidates;;) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view name = core::trim(rest.substr(0, comma));
    const auto found = known.find(name);
    if (found == known.end() || !seen.insert(name).second)
      return Error(ErrorKind::invalid_argument,
                   fmt::format("\"{}\" is not a list of strategies for reading files; it may be "
                               "io_uring_direct, io_uring_buffered, libaio_direct and "
                               "sync_buffered, each once, with commas between them",
                               candidates));
    if (chosen.empty()) chosen = found->second;
    if (comma == rest.size()) return chosen;
    rest.remove_prefix(comma + 1);
  }
}

using NamedCredentials = std::map<std::string, std::string, std::less<>>;
// As the original calls them.
constexpr std::array<std::pair<std::string_view, std::string RunaiCredentials::*>, 5>
    kCredentialNames = {{
        {"access_key_id", &RunaiCredentials::access_key_id},
        {"secret_access_key", &RunaiCredentials::secret_access_key},
        {"session_token", &RunaiCredentials::session_token},
        {"region", &RunaiCredentials::region},
        {"endpoint", &RunaiCredentials::endpoint},
    }};

bool is_known_credential(std::string_view key) {
  return std::any_of(kCredentialNames.begin(), kCredentialNames.end(),
                     [&](const auto& row) { return row.first == key; });
}

class FileStreamer {
 public:
  explicit FileStreamer(core::Settings settings) : settings_(std::move(settings)) {}
  FileStreamer(const FileStreamer&) = delete;
  FileStreamer& operator=(const FileStreamer&) = delete;

  RunaiCode set_credentials(NamedCredentials credentials) {
    if (credentials.empty() || credentials == credentials_) return kRunaiSuccess;
    if (!credentials_.empty()) return kRunaiCredentialsSet;
    RunaiCredentials given;
    for (const auto& [name, member] : kCredentialNames) {
      if (const auto found = credentials.find(name); found != credentials.end())
        given.*member = found->second;
    }
    if (const auto set = put(given, settings_); !set) return runai_told(set.error(), kRunaiInvalid);
    credentials_ = std::move(credentials);
    stores_.reset();  // those that are in use keep theirs
    return kRunaiSuccess;
  }

  RunaiCode set_strategy(const std::string& candidates) {
    auto file_io = file_io_of(candidates);
    if (!file_io) return runai_told(file_io.error(), kRunaiInvalid);
    if (candidates == strategy_) return kRunaiSuccess;
    if (!strategy_.empty() || has_read_files_) return kRunaiStrategySet;
    if (!settings_.set(core::setting::kFileIo, *file_io)) return kRunaiInvalid;
    strategy_ = candidates;
    is_strategy_wrong_ = false;
    return kRunaiSuccess;
  }
  // What that cannot be is the failure of the first request of files.
  void set_strategy_of_environment(const char* candidates) {
    is_strategy_wrong_ = set_strategy(candidates) != kRunaiSuccess;
  }
  [[nodiscard]] bool is_strategy_wrong() const noexcept { return is_strategy_wrong_; }

  // Of a failure nothing is left behind. Files are opened when it is the submission's turn.
  Result<std::uint64_t> submit(std::vector<RunaiFile> files, core::Device device) {
    auto submission =
        TRY(RunaiSubmission::make(std::move(files), device, settings_, stores(), &queue_.pool()));
    const std::uint64_t id = ++last_id_;
    const std::size_t responses = submission->left();
    if (responses == 0) return id;
    TRY(queue_.add(id, std::move(submission)));
    left_ += responses;
    return id;
  }

  void note_files(bool are_local) { has_read_files_ = has_read_files_ || are_local; }

  // Its code is kRunaiTimedOut or kRunaiFinished if there is none.
  RunaiAnswer respond(unsigned timeout_ms) {
    std::optional<std::chrono::milliseconds> limit;
    if (timeout_ms != 0) limit = std::chrono::milliseconds(timeout_ms);
    if (left_ == 0 && !limit) return {.response = {.code = kRunaiFinished}};
    const auto answer = queue_.take(limit);
    if (!answer) return {.response = {.code = kRunaiTimedOut}};
    if (left_ != 0) --left_;
    return *answer;
  }

  std::shared_ptr<core::Stores> stores() {
    if (!stores_) stores_ = std::make_shared<core::Stores>(settings_);
    return stores_;
  }

 private:
  core::Settings settings_;
  NamedCredentials credentials_;
  std::string strategy_;
  bool is_strategy_wrong_ = false;
  bool has_read_files_ = false;
  std::shared_ptr<core::Stores> stores_;
  std::uint64_t last_id_ = 0;
  std::size_t left_ = 0;  // responses that were not taken
  RunaiQueue queue_;
};

FileStreamer& from(void* streamer) {
  return *static_cast<FileStreamer*>(streamer);
}

std::string_view scheme_of(std::string_view path) {
  return is_runai_object(path) ? path.substr(0, 2) : std::string_view("file");
}

struct Arrays {
  unsigned files = 0;
  const char** paths = nullptr;
  const unsigned* counts = nullptr;
  const size_t* offsets = nullptr;
  const size_t* sizes = nullptr;
  void** places = nullptr;
};

// kRunaiInvalid if a pointer that is needed is missing, or bytes lie beyond 2^64.
RunaiCode copy(const Arrays& arrays, std::vector<RunaiFile>& files) {
  if (arrays.files != 0 && (arrays.paths == nullptr || arrays.counts == nullptr))
    return kRunaiInvalid;
  std::size_t i = 0;
  std::uint64_t all = 0;
  for (unsigned f = 0; f < arrays.files; ++f) {
    if (arrays.paths[f] == nullptr) return kRunaiInvalid;
    RunaiFile& file = files.emplace_back(RunaiFile{arrays.paths[f], {}});
    for (unsigned r = 0; r < arrays.counts[f]; ++r, ++i) {
      if (arrays.offsets == nullptr || arrays.sizes == nullptr || arrays.places == nullptr)
        return kRunaiInvalid;
      if (arrays.places[i] == nullptr && arrays.sizes[i] != 0) return kRunaiInvalid;
      const auto sum = core::checked_add(all, arrays.sizes[i]);
      if (!sum || !core::checked_add(arrays.offsets[i], arrays.sizes[i])) return kRunaiInvalid;
      all = *sum;
      file.ranges.push_back(
          {arrays.offsets[i], arrays.sizes[i], static_cast<std::byte*>(arrays.places[i])});
    }
  }
  return kRunaiSuccess;
}

RunaiCode submit(FileStreamer& streamer, std::vector<RunaiFile> files,
                 RunaiFileStreamerDevice device, RunaiFileStreamerSubmissionId& id) {
  std::set<std::string_view> schemes;
  for (const RunaiFile& file : files)
    schemes.insert(scheme_of(file.path));
  if (schemes.size() > 1) return kRunaiMixedStores;
  core::Device whose;
  if (device.type != RUNAI_FILE_STREAMER_DEVICE_CPU) {
    if (device.type != RUNAI_FILE_STREAMER_DEVICE_CUDA) return kRunaiNoSuchDeviceType;
    if (device.id < 0) return kRunaiNoSuchDevice;
    whose = {core::kCudaKind, device.id};
  }
  const bool are_local = schemes.contains("file");
  if (are_local && streamer.is_strategy_wrong()) return kRunaiInvalid;
  auto submitted = streamer.submit(std::move(files), whose);
  if (!submitted) {
    const bool is_invalid = submitted.error().kind() == ErrorKind::invalid_argument;
    return runai_told(submitted.error(),
                      is_invalid ? kRunaiInvalid : runai_code_of(submitted.error()));
  }
  streamer.note_files(are_local);
  id = *submitted;
  return kRunaiSuccess;
}

std::vector<std::string> strings(const char** texts, unsigned count) {
  std::vector<std::string> all;
  for (unsigned i = 0; texts != nullptr && i < count; ++i) {
    if (texts[i] != nullptr) all.emplace_back(texts[i]);
  }
  return all;
}

Result<void> list(FileStreamer& streamer, const std::string& prefix, bool is_deep,
                  const core::PullOptions& patterns, RunaiFileStreamerFileListCallback callback,
                  void* user) {
  const core::Uri uri = TRY(core::parse_uri(prefix));
  const auto stores = streamer.stores();
  core::Store* const store = TRY(stores->of(uri));
  const auto depth = is_deep ? core::ListDepth::all : core::ListDepth::children;
  // Of files it is the whole path, and nothing else.
  const bool is_local = uri.scheme() == "file";
  const core::PullOptions chosen = is_local ? core::PullOptions{} : patterns;
  for (const core::Entry& entry : TRY(core::matching_entries(*store, uri, depth, chosen))) {
    const std::string path = entry.uri.text();
    const auto matches = [&](const std::string& pattern) {
      return core::glob_match(pattern, path);
    };
    if (is_local) {
      const auto& [allow, ignore] = patterns;
      if (!allow.empty() && std::none_of(allow.begin(), allow.end(), matches)) continue;
      if (std::any_of(ignore.begin(), ignore.end(), matches)) continue;
    }
    callback(path.c_str(), entry.size, user);
  }
  return {};
}

}  // namespace

extern "C" {

int runai_file_streamer_start(void** streamer) {
  if (streamer == nullptr) return kRunaiInvalid;
  return runai_guarded([&]() -> int {
    auto settings = runai_settings();
    if (!settings) return runai_told(settings.error(), kRunaiInvalid);
    auto made = std::make_unique<FileStreamer>(*std::move(settings));
    if (const char* const strategy = ::secure_getenv("RUNAI_STREAMER_FS_STRATEGY"))
      made->set_strategy_of_environment(strategy);
    *streamer = made.release();
    return kRunaiSuccess;
  });
}

void runai_file_streamer_end(void* streamer) {
  delete static_cast<FileStreamer*>(streamer);
}

int runai_file_streamer_set_credentials(void* streamer, const char** param_keys,
                                        const char** param_values, unsigned num_params) {
  if (streamer == nullptr) return kRunaiInvalid;
  if (num_params != 0 && (param_keys == nullptr || param_values == nullptr)) return kRunaiInvalid;
  return runai_guarded([&]() -> int {
    NamedCredentials credentials;
    for (unsigned i = 0; i < num_params; ++i) {
      if (param_keys[i] == nullptr) return kRunaiInvalid;
      if (param_values[i] != nullptr && *param_values[i] != '\0' &&
          is_known_credential(param_keys[i]))
        credentials[param_keys[i]] = param_values[i];
    }
    return from(streamer).set_credentials(std::move(credentials));
  });
}

int runai_file_streamer_set_fs_strategy(void* streamer, const char* candidates) {
  if (streamer == nullptr || candidates == nullptr) return kRunaiInvalid;
  return runai_guarded([&]() -> int { return from(streamer).set_strategy(candidates); });
}

int runai_file_streamer_request(void* streamer, RunaiFileStreamerSubmissionId* out_submission_id,
                                unsigned num_files, const char** paths, unsigned* num_ranges,
                                size_t* range_offsets, size_t* range_sizes, void** range_dsts,
                                RunaiFileStreamerDevice device) {
  if (out_submission_id != nullptr) *out_submission_id = 0;
  if (streamer == nullptr || out_submission_id == nullptr) return kRunaiInvalid;
  return runai_guarded([&]() -> int {
    std::vector<RunaiFile> files;
    const RunaiCode copied =
        copy({num_files, paths, num_ranges, range_offsets, range_sizes, range_dsts}, files);
    if (copied != kRunaiSuccess) return copied;
    return submit(from(streamer), std::move(files), device, *out_submission_id);
  });
}

int runai_file_streamer_response(void* streamer, RunaiFileStreamerSubmissionId* out_submission_id,
                                 unsigned* file_index, unsigned* index, int* submission_done,
                                 unsigned timeout_ms) {
  if (streamer == nullptr || out_submission_id == nullptr || file_index == nullptr ||
      index == nullptr || submission_done == nullptr) {
    return kRunaiInvalid;
  }
  return runai_guarded([&]() -> int {
    const RunaiAnswer answer = from(streamer).respond(timeout_ms);
    *out_submission_id = answer.submission;
    *file_index = answer.response.file;
    *index = answer.response.index;
    *submission_done = answer.is_last ? 1 : 0;
    return answer.response.code;
  });
}

const char* runai_file_streamer_response_str(int response_code) {
  if (response_code < kFirstLaterCode) return runai_response_str(response_code);
  const auto later = static_cast<std::size_t>(response_code - kFirstLaterCode);
  return later < kLaterTexts.size() ? kLaterTexts[later] : runai_response_str(-1);
}

int runai_file_streamer_probe_direct_block_size(void* streamer, const char** paths,
                                                unsigned num_paths, size_t* out_block) {
  if (streamer == nullptr || out_block == nullptr) return kRunaiInvalid;
  // What the library's own readers ask of an offset, a size and a place alike.
  *out_block = core::kPageBytes;
  if (num_paths != 0 && paths == nullptr) return kRunaiInvalid;
  return runai_guarded([&]() -> int {
    for (unsigned i = 0; i < num_paths; ++i) {
      if (paths[i] == nullptr || is_runai_object(paths[i])) continue;
      if (core::stat_file(core::Uri("file", paths[i]))) return kRunaiSuccess;
    }
    return kRunaiUnknown;
  });
}

int runai_file_streamer_list_files(void* streamer, const char* prefix, int is_recursive,
                                   const char** allow_patterns, unsigned num_allow_patterns,
                                   const char** ignore_patterns, unsigned num_ignore_patterns,
                                   RunaiFileStreamerFileListCallback callback, void* user_data) {
  if (streamer == nullptr || prefix == nullptr || callback == nullptr) return kRunaiInvalid;
  return runai_guarded([&]() -> int {
    const core::PullOptions patterns{.allow = strings(allow_patterns, num_allow_patterns),
                                     .ignore = strings(ignore_patterns, num_ignore_patterns)};
    auto listed = list(from(streamer), prefix, is_recursive != 0, patterns, callback, user_data);
    return listed ? kRunaiSuccess : runai_told(listed.error(), runai_code_of(listed.error()));
  });
}

}  // extern "C"
