// SPDX-License-Identifier: Apache-2.0
#include "runai_submission.hpp"

#include <algorithm>
#include <cstdlib>

#include "base/on_threads.hpp"
#include "base/text.hpp"

namespace streamer::capi {

namespace {

// What the original reads less at a time.
constexpr std::uint64_t kLeastChunkBytes = 2 * core::kMiB;

// A number above 0, or nothing if the variable is not set.
Result<std::optional<std::uint64_t>> positive(const char* variable) {
  const char* const text = ::secure_getenv(variable);
  if (text == nullptr) return std::optional<std::uint64_t>();
  const auto number = core::parse_unsigned(text);
  if (!number || *number == 0)
    return Error(ErrorKind::invalid_argument, std::string(variable) + " is no number above 0");
  return std::optional(*number);
}

// A file that is not there fails its own ranges only.
struct Opening {
  core::Object object;
  RunaiCode code = kRunaiSuccess;
};

Result<std::vector<Opening>> open_files(const std::vector<RunaiFile>& files,
                                        const std::vector<core::Uri>& uris, core::Stores& stores) {
  const auto open_one = [&](std::size_t i) -> Result<Opening> {
    if (files[i].ranges.empty()) return Opening{};
    auto object = core::open_object(stores, uris[i]);
    if (!object) return Opening{{}, runai_code_of(object.error())};
    return Opening{*std::move(object), kRunaiSuccess};
  };
  return core::on_threads<Opening>("streamer-open", core::kOpeningThreads, files.size(), open_one);
}

}  // namespace

bool is_runai_object(std::string_view path) noexcept {
  if (!path.starts_with("s3://") && !path.starts_with("gs://") && !path.starts_with("az://"))
    return false;
  const std::size_t slash = path.find('/', 5);
  return slash > 5 && slash < path.size() - 1;
}

Result<core::Settings> runai_settings() {
  core::Settings settings;
  const auto concurrency = TRY(positive("RUNAI_STREAMER_CONCURRENCY"));
  const auto chunk = TRY(positive("RUNAI_STREAMER_CHUNK_BYTESIZE"));
  if (concurrency) {
    TRY(settings.set("concurrency", std::to_string(std::min<std::uint64_t>(*concurrency, 1024))));
  }
  if (chunk) {
    const std::uint64_t bytes = std::clamp(*chunk, kLeastChunkBytes, core::kGiB);
    TRY(settings.set("chunk_bytes", std::to_string(bytes)));
  }
  TRY(settings.set("memory_limit", "unlimited"));
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

Result<std::unique_ptr<RunaiSubmission>> RunaiSubmission::make(
    std::vector<RunaiFile> files, std::int32_t device, const core::Settings& settings,
    std::shared_ptr<core::Stores> stores) {
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
  made->stores_ = std::move(stores);
  return made;
}

Result<void> RunaiSubmission::begin() {
  has_begun_ = true;
  const auto limit = TRY(core::read_operation_timeout(settings_));
  const core::Work work("opening the files", &operation_, limit, "operation_timeout_ms");
  const core::WorkScope scope(&work);
  std::vector<core::Object> objects;
  std::vector<core::OpenedRange> ranges;
  const std::vector<std::byte*> places = TRY(sort_out(objects, ranges));
  if (ranges.empty()) return {};
  return start_load(core::checkpoint_of(std::move(objects), ranges, stores_), places);
}

// What is to be read, and where to; what needs no reading is known.
Result<std::vector<std::byte*>> RunaiSubmission::sort_out(std::vector<core::Object>& objects,
                                                          std::vector<core::OpenedRange>& ranges) {
  std::vector<Opening> openings = TRY(open_files(files_, uris_, *stores_));
  std::vector<std::byte*> places;
  for (std::uint32_t file = 0; file < files_.size(); ++file) {
    Opening& opening = openings[file];
    const std::size_t ranges_before = ranges.size();
    for (std::uint32_t index = 0; index < files_[file].ranges.size(); ++index) {
      const RunaiRange& range = files_[file].ranges[index];
      if (opening.code != kRunaiSuccess) {
        known_.push_back({opening.code, file, index});
      } else if (range.offset > opening.object.size ||
                 range.bytes > opening.object.size - range.offset) {
        known_.push_back({kRunaiEndOfFile, file, index});
      } else if (range.bytes == 0) {
        known_.push_back({kRunaiSuccess, file, index});
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
                                         const std::vector<std::byte*>& places) {
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
  // What the original reads with one worker comes in the order of the request.
  if (bytes <= kLeastChunkBytes) options.order = core::Order::plan;
  const core::LoadSettings read = TRY(core::read_load_settings(settings_));
  auto load = TRY(core::Load::start(std::move(checkpoint), std::move(wanted), options, read));
  load_ = load.get();
  state_.with([&](State& state) {
    state.load = std::move(load);
    if (state.is_cancelled) state.load->cancel();
  });
  return {};
}

std::optional<RunaiResponse> RunaiSubmission::next() {
  if (left_ == 0) return std::nullopt;
  if (!has_begun_) {
    auto begun = begin();
    if (!begun) {
      // Nothing is read: everything fails for that reason.
      known_.clear();
      for (std::uint32_t file = 0; file < files_.size(); ++file) {
        for (std::uint32_t index = 0; index < files_[file].ranges.size(); ++index)
          known_.push_back({runai_code_of(begun.error()), file, index});
      }
    }
  }
  --left_;
  if (known_.empty()) {
    auto next = load_->next(std::nullopt);
    if (next && next->outcome == core::Load::Outcome::tensor) {
      const std::uint64_t tag = next->lease->tag();
      has_come_[tag] = true;
      next->lease->release();
      return of_load_[tag];
    }
    // All that did not come failed for the same reason.
    fail_the_rest(next ? kRunaiUnknown : runai_code_of(next.error()));
  }
  const RunaiResponse response = known_.front();
  known_.pop_front();
  return response;
}

void RunaiSubmission::fail_the_rest(RunaiCode code) {
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
