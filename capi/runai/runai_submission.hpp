// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the native functions of all versions of the Run:ai Model Streamer share: ranges of files are
// read into memory of the caller, and each has a response.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "abi/boundary.hpp"
#include "base/operation.hpp"
#include "checkpoint/ranges.hpp"
#include "engine/reader_pool.hpp"

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
  kRunaiNoSuchDeviceType = 23,
  kRunaiNoDevice = 24,
  kRunaiNoSuchDevice = 25,
  kRunaiDeviceMemory = 26,
  kRunaiDeviceFailed = 28,
};

// No exception may leave the functions.
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

// By the original's variables that are numbers. What is out of bounds is brought within them, and
// logged; invalid_argument for what is none.
Result<core::Settings> runai_settings();

[[nodiscard]] RunaiCode runai_code_of(const Error& error) noexcept;
// Logs what the code will not say, and gives the code.
RunaiCode runai_told(const Error& error, RunaiCode code);

class RunaiSubmission {
 public:
  // Nothing is read yet. device: where all places are. pool: whose threads read; it outlives the
  // submission; nullptr: threads of its own. invalid_argument for what cannot be the URI of an
  // object.
  static Result<std::unique_ptr<RunaiSubmission>> make(std::vector<RunaiFile> files,
                                                       core::Device device,
                                                       const core::Settings& settings,
                                                       std::shared_ptr<core::Stores> stores,
                                                       core::ReaderPool* pool = nullptr);

  // Opens the files, which takes as long as the stores take, and starts to read. What cannot come
  // is no failure of all: its responses say so. Once, before next().
  Result<void> begin();
  // The same; a failure becomes the responses.
  void begin_or_fail();
  // Waits for the next range that is there or failed; nullopt once each had its response. For one
  // thread.
  std::optional<RunaiResponse> next();
  // How many responses are still to come. For the thread that calls next().
  [[nodiscard]] std::size_t left() const noexcept { return left_; }
  // Thread-safe. What did not come yet fails.
  void cancel();

 private:
  struct State {
    std::unique_ptr<core::Load> load;  // nullptr: not begun, or nothing had to be read
    bool is_cancelled = false;
  };

  [[nodiscard]] std::size_t opening_threads(const core::LoadSettings& settings) const;
  Result<std::vector<std::byte*>> sort_out(const core::LoadSettings& settings,
                                           std::vector<core::Object>& objects,
                                           std::vector<core::OpenedRange>& ranges);
  Result<void> start_load(std::shared_ptr<const core::Checkpoint> checkpoint,
                          const std::vector<std::byte*>& places,
                          const core::LoadSettings& settings);
  void fail_the_rest(const Error& error);
  [[nodiscard]] RunaiCode code_of(const Error& error) const;

  std::vector<RunaiFile> files_;
  std::vector<core::Uri> uris_;  // of the files
  core::Device device_;
  core::Settings settings_;
  std::shared_ptr<core::Stores> stores_;
  core::ReaderPool* pool_ = nullptr;
  core::Operation operation_;  // of opening the files
  core::Guarded<State> state_;
  core::Load* load_ = nullptr;          // of the state: for the thread that calls next()
  std::deque<RunaiResponse> known_;     // that need not be waited for
  std::vector<RunaiResponse> of_load_;  // by tag
  std::vector<bool> has_come_;          // by tag
  std::size_t left_ = 0;
};

}  // namespace streamer::capi
