// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the native functions of the Run:ai Model Streamer have in common, whichever version they are
// of: ranges of files are read to places of the caller, and each has a response.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "boundary.hpp"

namespace streamer::capi {

// As programs know them.
enum RunaiCode : int {
  kRunaiSuccess = 0,
  kRunaiFinished = 1,
  kRunaiFileAccess = 2,
  kRunaiEndOfFile = 3,
  kRunaiInvalid = 7,
  kRunaiEmpty = 8,
  kRunaiBusy = 9,
  kRunaiUnknown = 11,
  kRunaiTimedOut = 16,
  kRunaiMixedStores = 17,
  kRunaiCredentialsSet = 18,
  kRunaiStrategySet = 20,
  kRunaiNoSuchDevice = 23,
};

// Nothing that is thrown may leave the functions.
template <typename Body>
int runai_guarded(Body&& body) {
  try {
    return body();
  } catch (...) {
    return kRunaiUnknown;
  }
}

struct RunaiRange {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::byte* to = nullptr;
};

struct RunaiFile {
  std::string path;
  std::vector<RunaiRange> ranges;
};

struct RunaiResponse {
  RunaiCode code = kRunaiSuccess;
  std::uint32_t file = 0;
  std::uint32_t index = 0;  // of the range in its file
};

// s3://bucket/key, gs://.. or az://.., with a key and the scheme in lower case; all else is a path.
[[nodiscard]] bool is_runai_object(std::string_view path) noexcept;

// By RUNAI_STREAMER_CONCURRENCY and RUNAI_STREAMER_CHUNK_BYTESIZE; invalid_argument if one of them
// is no number above 0.
Result<core::Settings> runai_settings();

[[nodiscard]] RunaiCode runai_code_of(const Error& error) noexcept;

class RunaiSubmission {
 public:
  // Opens the files and starts to read. What cannot come is no failure of all: its responses say
  // so. device: where all places are, core::kHost or the number of a GPU.
  static Result<std::unique_ptr<RunaiSubmission>> start(const std::vector<RunaiFile>& files,
                                                        std::int32_t device,
                                                        const core::Settings& settings,
                                                        std::shared_ptr<core::Stores> stores);

  // Waits for the next range that is there or failed; nullopt once each had its response. For one
  // thread.
  std::optional<RunaiResponse> next();
  // How many responses are still to come. For the thread that calls next().
  [[nodiscard]] std::size_t left() const noexcept { return left_; }
  // Thread-safe. What did not come yet fails.
  void cancel() noexcept;

 private:
  Result<void> start_load(std::shared_ptr<const core::Checkpoint> checkpoint,
                          const std::vector<std::byte*>& places, std::int32_t device,
                          const core::Settings& settings);
  void fail_the_rest(RunaiCode code);

  std::unique_ptr<core::Load> load_;    // nullptr: nothing had to be read
  std::deque<RunaiResponse> known_;     // that need not be waited for
  std::vector<RunaiResponse> of_load_;  // by tag
  std::vector<bool> has_come_;          // by tag
  std::size_t left_ = 0;
};

}  // namespace streamer::capi
