// SPDX-License-Identifier: Apache-2.0
#include "runai.h"

#include <array>
#include <span>

#include "runai_credentials.hpp"
#include "runai_submission.hpp"

using namespace streamer::capi;
namespace core = streamer::core;

namespace {

// As programs know them, with their spelling.
constexpr std::array<const char*, 15> kTexts = {
    "Request sent successfuly",
    "Finished all responses",
    "File access error",
    "End of file reached",
    "S3 not supported",
    "GLIBC version should be at least 2.29",
    "Increase process fd limit or decrease the concurrency level",
    "Invalid request parameters",
    "Empty request parameters",
    "Streamer is handling previous request",
    "CA bundle file not found",
    "Unknown Error",
    "Error loading object storage plugin",
    "GCS not supported",
    "Azure not supported",
};

struct Request {
  std::span<const char* const> paths;
  std::span<const size_t> offsets;
  std::span<const size_t> sizes;
  std::span<const unsigned> counts;
  std::span<const size_t* const> ranges;
  std::byte* destination = nullptr;
};

class Streamer {
 public:
  explicit Streamer(core::Settings settings) : settings_(std::move(settings)) {}

  RunaiCode request(const Request& request, const RunaiCredentials& credentials) {
    if (submission_) return kRunaiBusy;
    const RunaiCode checked = check(request);
    if (checked != kRunaiSuccess) return checked;
    auto started = start(request, credentials);
    if (started) return kRunaiSuccess;
    const bool is_invalid = started.error().kind() == ErrorKind::invalid_argument;
    return runai_told(started.error(), is_invalid ? kRunaiInvalid : kRunaiUnknown);
  }

  RunaiResponse respond() {
    if (!submission_) return {.code = kRunaiFinished};
    const auto response = submission_->next();
    // With the last one the request is over: programs count, and ask for the next at once.
    if (submission_->left() == 0) submission_.reset();
    return response.value_or(RunaiResponse{.code = kRunaiFinished});
  }

 private:
  static RunaiCode check(const Request& request) {
    if (request.paths.empty()) return kRunaiEmpty;
    if (request.destination == nullptr) return kRunaiInvalid;
    bool has_object = false;
    bool has_file = false;
    for (std::size_t i = 0; i < request.paths.size(); ++i) {
      if (request.paths[i] == nullptr) return kRunaiInvalid;
      if (request.sizes[i] == 0 || request.counts[i] == 0) return kRunaiEmpty;
      std::uint64_t all = 0;
      for (unsigned r = 0; r < request.counts[i]; ++r) {
        const auto sum = core::checked_add(all, request.ranges[i][r]);
        if (!sum) return kRunaiInvalid;
        all = *sum;
      }
      if (all > request.sizes[i]) return kRunaiInvalid;
      (is_runai_object(request.paths[i]) ? has_object : has_file) = true;
    }
    return has_object && has_file ? kRunaiInvalid : kRunaiSuccess;
  }

  Result<void> start(const Request& request, const RunaiCredentials& credentials) {
    TRY(take(credentials));
    std::vector<RunaiFile> files;
    std::byte* to = request.destination;
    for (std::size_t file = 0; file < request.paths.size(); ++file) {
      files.push_back({request.paths[file], {}});
      std::uint64_t offset = request.offsets[file];
      std::byte* place = to;
      for (unsigned index = 0; index < request.counts[file]; ++index) {
        const std::uint64_t bytes = request.ranges[file][index];
        files.back().ranges.push_back({offset, bytes, place});
        offset += bytes;
        place += bytes;
      }
      to += request.sizes[file];
    }
    auto submission =
        TRY(RunaiSubmission::make(std::move(files), core::kHost, with_credentials_, stores_));
    TRY(submission->begin());
    submission_ = std::move(submission);
    return {};
  }

  // Connections and what is known of a store are kept from request to request.
  Result<void> take(const RunaiCredentials& credentials) {
    if (stores_ != nullptr && credentials == credentials_) return {};
    core::Settings settings = settings_;
    TRY(put(credentials, settings));
    stores_ = std::make_shared<core::Stores>(settings);
    with_credentials_ = std::move(settings);
    credentials_ = credentials;
    return {};
  }

  const core::Settings settings_;
  core::Settings with_credentials_;
  RunaiCredentials credentials_;
  std::shared_ptr<core::Stores> stores_;
  std::unique_ptr<RunaiSubmission> submission_;
};

}  // namespace

extern "C" {

int runai_start(void** streamer) {
  if (streamer == nullptr) return kRunaiInvalid;
  return runai_guarded([&]() -> int {
    auto settings = runai_settings();
    if (!settings) return runai_told(settings.error(), kRunaiInvalid);
    *streamer = new Streamer(*std::move(settings));
    return kRunaiSuccess;
  });
}

void runai_end(void* streamer) {
  delete static_cast<Streamer*>(streamer);
}

int runai_request(void* streamer, unsigned num_files, const char** paths, size_t* file_offsets,
                  size_t* bytesizes, void** dsts, unsigned* num_sizes, size_t** internal_sizes,
                  const char* key, const char* secret, const char* token, const char* region,
                  const char* endpoint) {
  if (streamer == nullptr) return kRunaiInvalid;
  if (num_files != 0 && (paths == nullptr || file_offsets == nullptr || bytesizes == nullptr ||
                         dsts == nullptr || num_sizes == nullptr || internal_sizes == nullptr)) {
    return kRunaiInvalid;
  }
  return runai_guarded([&]() -> int {
    const auto text = [](const char* given) { return std::string(given == nullptr ? "" : given); };
    return static_cast<Streamer*>(streamer)->request(
        {.paths = {paths, num_files},
         .offsets = {file_offsets, num_files},
         .sizes = {bytesizes, num_files},
         .counts = {num_sizes, num_files},
         .ranges = {internal_sizes, num_files},
         .destination = num_files == 0 ? nullptr : static_cast<std::byte*>(dsts[0])},
        {text(key), text(secret), text(token), text(region), text(endpoint)});
  });
}

int runai_response(void* streamer, unsigned* file_index, unsigned* index) {
  if (streamer == nullptr || file_index == nullptr || index == nullptr) return kRunaiInvalid;
  return runai_guarded([&]() -> int {
    const RunaiResponse response = static_cast<Streamer*>(streamer)->respond();
    *file_index = response.file;
    *index = response.index;
    return response.code;
  });
}

const char* runai_response_str(int code) {
  if (code < 0 || static_cast<std::size_t>(code) >= kTexts.size()) return "Invalid response code";
  return kTexts[static_cast<std::size_t>(code)];
}

}  // extern "C"
