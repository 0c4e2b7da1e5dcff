// SPDX-License-Identifier: Apache-2.0
#include "runai_submission.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "abi/call_settings.hpp"
#include "base/log.hpp"
#include "base/log_environment.hpp"
#include "base/on_threads.hpp"
#include "base/text.hpp"
#include "engine/load_settings.hpp"
#include "gpu/gpu_kinds.hpp"

namespace streamer::capi {

namespace {

// The least that the original reads at a time.
constexpr std::uint64_t kLeastChunkBytes = 2 * core::kMiB;

// Sets the setting by a variable, if that is set. Blanks before the number are the original's way.
Result<void> take(core::Settings& settings, const core::SettingRow& setting, const char* variable,
                  std::uint64_t lowest_taken, std::uint64_t lowest, std::uint64_t highest,
                  std::uint64_t factor = 1) {
  const char* const text = ::secure_getenv(variable);
  if (text == nullptr) return {};
  std::string_view digits = text;
  digits.remove_prefix(std::min(digits.find_first_not_of(" \t\n"), digits.size()));
  const auto number = core::parse_unsigned(digits);
  if (!number || *number < lowest_taken) {
    return Error(ErrorKind::invalid_argument,
                 fmt::format("{} is \"{}\"; it may be a whole number from {} on", variable, text,
                             lowest_taken));
  }
  if (*number == 0) return {};  // as if it were not set
  const std::uint64_t within = std::clamp(*number, lowest, highest);
  if (within != *number) {
    core::log_line(core::LogLevel::warning,
                   fmt::format("{} is {}, which is taken as {}", variable, *number, within));
  }
  return settings.set(setting, std::to_string(within * factor));
}

// Variables for network stores are ignored, valid or not, if no such store is read.
void leave_networks_out(core::Settings& settings) {
  for (const core::SettingRow* const row : core::kLoadSettings) {
    const std::string_view variable = row->also() == nullptr ? "" : row->also();
    if (!variable.starts_with("RUNAI_STREAMER_S3_") && !variable.starts_with("RUNAI_STREAMER_GCS_"))
      continue;
    if (::secure_getenv(row->variable()) == nullptr && !settings.is_in_code(*row))
      static_cast<void>(settings.set(*row, row->default_text()));
  }
}

// A missing file fails only its own ranges.
struct Opening {
  core::Object object;
  std::optional<Error> error;
};

Result<std::vector<Opening>> open_files(const std::vector<RunaiFile>& files,
                                        const std::vector<core::Uri>& uris, core::Stores& stores,
                                        std::size_t threads) {
  const auto open_one = [&](std::size_t i) -> Result<Opening> {
    if (files[i].ranges.empty()) return Opening{};
    auto object = core::open_object(stores, uris[i]);
    if (!object) return Opening{{}, std::move(object).error()};
    return Opening{*std::move(object), {}};
  };
  return core::on_threads<Opening>("streamer-open", threads, files.size(), open_one);
}

}  // namespace

bool is_runai_object(std::string_view path) noexcept {
  if (!path.starts_with("s3://") && !path.starts_with("gs://") && !path.starts_with("az://"))
    return false;
  const std::size_t slash = path.find('/', 5);
  return slash > 5 && slash < path.size() - 1;
}

Result<core::Settings> runai_settings() {
  core::show_errors();
  core::Settings settings;
  TRY(take(settings, core::setting::kConcurrency, "RUNAI_STREAMER_CONCURRENCY", 1, 1, 1024));
  TRY(take(settings, core::setting::kConnections, "RUNAI_STREAMER_OBJ_CONCURRENCY", 1, 1, 1024));
  // It goes before, and one that is no number is only an error where a store is read.
  const char* const most = ::secure_getenv("RUNAI_STREAMER_S3_MAX_CONNECTIONS");
  if (most != nullptr && core::parse_unsigned(most)) {
    TRY(settings.set(core::setting::kConnections, "auto"));
    TRY(take(settings, core::setting::kConnections, "RUNAI_STREAMER_S3_MAX_CONNECTIONS", 0, 1,
             1024));
  }
  TRY(take(settings, core::setting::kChunkBytes, "RUNAI_STREAMER_CHUNK_BYTESIZE", 1,
           kLeastChunkBytes, core::kGiB));
  // How long it tries again. With ours, each byte that comes begins that anew.
  TRY(take(settings, core::setting::kProgressTimeoutMs, "RUNAI_STREAMER_S3_TIMEOUT", 0, 1, 86'400,
           1000));
  TRY(settings.set(core::setting::kMemoryLimit, "unlimited"));
  return settings;
}

RunaiCode runai_code_of(const Error& error) noexcept {
  switch (error.kind()) {
    case ErrorKind::not_found:
    case ErrorKind::permission_denied:
    case ErrorKind::credentials_expired:
    case ErrorKind::object_changed:
    case ErrorKind::throttled:
    case ErrorKind::timed_out:
    case ErrorKind::io:
    case ErrorKind::untrusted:
    case ErrorKind::clock_skew:
      return kRunaiFileAccess;
    default:
      return kRunaiUnknown;
  }
}

RunaiCode runai_told(const Error& error, RunaiCode code) {
  if (error.kind() != ErrorKind::cancelled) core::log_line(core::LogLevel::error, error.line());
  return code;
}

Result<std::unique_ptr<RunaiSubmission>> RunaiSubmission::make(std::vector<RunaiFile> files,
                                                               core::Device device,
                                                               const core::Settings& settings,
                                                               std::shared_ptr<core::Stores> stores,
                                                               core::ReaderPool* pool) {
  auto made = std::make_unique<RunaiSubmission>();
  for (const RunaiFile& file : files) {
    core::Uri uri("file", file.path);
    if (is_runai_object(file.path)) uri = TRY(core::parse_uri(file.path));
    made->uris_.push_back(std::move(uri));
    made->left_ += file.ranges.size();
  }
  TRY(made->operation_.open());
  made->files_ = std::move(files);
  made->device_ = device;
  made->settings_ = settings;
  const auto is_local = [](const core::Uri& uri) { return uri.scheme() == "file"; };
  if (std::all_of(made->uris_.begin(), made->uris_.end(), is_local))
    leave_networks_out(made->settings_);
  made->stores_ = std::move(stores);
  made->pool_ = pool;
  return made;
}

Result<void> RunaiSubmission::begin() {
  const auto limit = TRY(settings_.get(core::setting::kOperationTimeoutMs));
  const core::Work work("opening the files", &operation_, limit,
                        core::setting::kOperationTimeoutMs.name());
  const core::WorkScope scope(&work);
  // What is wrong with them is told before a store is asked.
  const core::LoadSettings settings = TRY(core::read_load_settings(settings_));
  std::vector<core::Object> objects;
  std::vector<core::OpenedRange> ranges;
  const std::vector<std::byte*> places = TRY(sort_out(settings, objects, ranges));
  if (ranges.empty()) return {};
  return start_load(core::checkpoint_of(std::move(objects), ranges, stores_), places, settings);
}

// Beside the readers of other submissions, threads stay as few as the program asked for.
std::size_t RunaiSubmission::opening_threads(const core::LoadSettings& settings) const {
  const std::size_t readers = settings.get(core::setting::kConcurrency);
  if (pool_ == nullptr || readers == 0) return core::kOpeningThreads;
  const std::size_t idle = readers - std::min(readers, pool_->threads());
  return std::clamp<std::size_t>(idle, 1, core::kOpeningThreads);
}

// What to read, and where to put it; responses that need no reading are known at once.
Result<std::vector<std::byte*>> RunaiSubmission::sort_out(const core::LoadSettings& settings,
                                                          std::vector<core::Object>& objects,
                                                          std::vector<core::OpenedRange>& ranges) {
  std::vector<Opening> openings =
      TRY(open_files(files_, uris_, *stores_, opening_threads(settings)));
  std::vector<std::byte*> places;
  bool is_told = false;
  const auto told = [&](const Error& error) {
    // One line for all that fails before anything is read.
    if (!std::exchange(is_told, true)) runai_told(error, kRunaiFileAccess);
  };
  for (std::uint32_t file = 0; file < files_.size(); ++file) {
    Opening& opening = openings[file];
    const std::size_t ranges_before = ranges.size();
    for (std::uint32_t index = 0; index < files_[file].ranges.size(); ++index) {
      const RunaiRange& range = files_[file].ranges[index];
      if (opening.error) {
        told(*opening.error);
        // Any other failure: a folder, a device, a name that is too long.
        const bool is_argument = opening.error->kind() == ErrorKind::invalid_argument;
        const RunaiCode code = is_argument ? kRunaiFileAccess : runai_code_of(*opening.error);
        known_.push_back({code, file, index});
      } else if (range.bytes == 0) {
        known_.push_back({kRunaiSuccess, file, index});
      } else if (range.offset > opening.object.size ||
                 range.bytes > opening.object.size - range.offset) {
        told(Error(ErrorKind::io, fmt::format("it ends at byte {}", opening.object.size))
                 .at(uris_[file].text(), {range.offset, range.bytes}));
        known_.push_back({kRunaiEndOfFile, file, index});
      } else {
        ranges.push_back({static_cast<std::uint32_t>(objects.size()), {range.offset, range.bytes}});
        places.push_back(range.to);
        of_load_.push_back({kRunaiSuccess, file, index});
      }
    }
    if (ranges.size() != ranges_before) objects.push_back(std::move(opening.object));
  }
  return places;
}

Result<void> RunaiSubmission::start_load(std::shared_ptr<const core::Checkpoint> checkpoint,
                                         const std::vector<std::byte*>& places,
                                         const core::LoadSettings& settings) {
  has_come_.assign(of_load_.size(), false);
  std::vector<core::PlanRequest> wanted;
  std::uint64_t bytes = 0;
  for (std::uint32_t t = 0; t < checkpoint->tensors.size(); ++t) {
    const std::uint64_t number = *core::parse_unsigned(checkpoint->tensors[t].name);
    wanted.push_back(
        {.tensor = t, .device = device_, .destination = places[number], .tag = number});
    bytes += checkpoint->tensors[t].bytes.size;
  }
  core::LoadOptions options;
  options.pool = pool_;
  // With one worker the original returns ranges in the order of the request.
  if (bytes <= kLeastChunkBytes) options.order = core::Order::plan;
  auto load = TRY(core::Load::start(std::move(checkpoint), std::move(wanted), options, settings));
  load_ = load.get();
  state_.with([&](State& state) {
    state.load = std::move(load);
    if (state.is_cancelled) state.load->cancel();
  });
  return {};
}

void RunaiSubmission::begin_or_fail() {
  const auto begun = begin();
  if (begun) return;
  // Nothing is read: everything fails for that reason.
  const RunaiCode code = runai_told(begun.error(), code_of(begun.error()));
  known_.clear();
  for (std::uint32_t file = 0; file < files_.size(); ++file) {
    for (std::uint32_t index = 0; index < files_[file].ranges.size(); ++index)
      known_.push_back({code, file, index});
  }
}

std::optional<RunaiResponse> RunaiSubmission::next() {
  if (left_ == 0) return std::nullopt;
  --left_;
  if (known_.empty()) {
    auto next = load_->next(std::nullopt);
    if (next && next->outcome == core::Load::Outcome::tensor) {
      const std::uint64_t tag = next->lease->tag();
      has_come_[tag] = true;
      next->lease->release();
      return of_load_[tag];
    }
    // All ranges that did not arrive failed for the same reason.
    fail_the_rest(next ? Error(ErrorKind::internal, "the load ended too early")
                       : std::move(next).error());
  }
  const RunaiResponse response = known_.front();
  known_.pop_front();
  return response;
}

RunaiCode RunaiSubmission::code_of(const Error& error) const {
  if (device_ == core::kHost) return runai_code_of(error);
  if (error.kind() == ErrorKind::out_of_memory) return kRunaiDeviceMemory;
  if (error.kind() != ErrorKind::device) return runai_code_of(error);
  // Whether it has any at all, and whether it has this one.
  const auto runtime = core::find_gpu_kind(device_.kind)->runtime();
  const auto count = runtime ? (*runtime)->device_count() : Result<int>(0);
  if (!count || *count == 0) return kRunaiNoDevice;
  return device_.number < *count ? kRunaiDeviceFailed : kRunaiNoSuchDevice;
}

void RunaiSubmission::fail_the_rest(const Error& error) {
  const RunaiCode code = code_of(error);
  runai_told(error, code);
  for (std::size_t i = 0; i < of_load_.size(); ++i) {
    if (has_come_[i]) continue;
    known_.push_back(of_load_[i]);
    known_.back().code = code;
  }
}

void RunaiSubmission::cancel() {
  operation_.cancel();
  state_.with([](State& state) {
    state.is_cancelled = true;
    if (state.load) state.load->cancel();
  });
}

}  // namespace streamer::capi
