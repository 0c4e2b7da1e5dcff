// SPDX-License-Identifier: Apache-2.0
#include "runai.h"

#include <array>
#include <cstdlib>
#include <deque>
#include <new>
#include <numeric>
#include <optional>
#include <span>

#include "base/text.hpp"
#include "boundary.hpp"
#include "checkpoint/ranges.hpp"

namespace core = streamer::core;
using core::Error;
using core::ErrorKind;
using core::Result;

namespace {

enum Code : int {
  kSuccess = 0,
  kFinished = 1,
  kFileAccess = 2,
  kEndOfFile = 3,
  kInvalid = 7,
  kEmpty = 8,
  kBusy = 9,
  kCaNotFound = 10,
  kUnknown = 11,
};

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

// What the original reads less at a time.
constexpr std::uint64_t kLeastChunkBytes = 2 * core::kMiB;

Code code_of(const Error& error) {
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
      return kFileAccess;
    default:
      return kUnknown;
  }
}

struct RangeName {
  std::uint32_t file = 0;
  std::uint32_t index = 0;
};

struct Response {
  Code code = kSuccess;
  RangeName range;
};

// A number above 0, or nothing if the variable is not set.
Result<std::optional<std::uint64_t>> positive(const char* variable) {
  const char* const text = ::secure_getenv(variable);
  if (text == nullptr) return std::optional<std::uint64_t>();
  const auto number = core::parse_unsigned(text);
  if (!number || *number == 0)
    return Error(ErrorKind::invalid_argument, std::string(variable) + " is no number above 0");
  return std::optional(*number);
}

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
  static Result<Streamer*> make() {
    auto made = std::make_unique<Streamer>();
    const auto concurrency = TRY(positive("RUNAI_STREAMER_CONCURRENCY"));
    const auto chunk = TRY(positive("RUNAI_STREAMER_CHUNK_BYTESIZE"));
    if (concurrency)
      TRY(made->settings_.set("concurrency",
                              std::to_string(std::min<std::uint64_t>(*concurrency, 1024))));
    if (chunk) {
      const std::uint64_t bytes = std::clamp(*chunk, kLeastChunkBytes, core::kGiB);
      TRY(made->settings_.set("chunk_bytes", std::to_string(bytes)));
    }
    TRY(made->settings_.set("memory_limit", "unlimited"));
    return made.release();
  }

  Code request(const Request& request, core::Settings credentials_and_all) {
    if (load_ || !known_.empty()) return kBusy;
    const Code checked = check(request);
    if (checked != kSuccess) return checked;
    auto started = start(request, std::move(credentials_and_all));
    if (started) return kSuccess;
    known_.clear();
    return started.error().kind() == ErrorKind::invalid_argument ? kInvalid : kUnknown;
  }

  Response respond() {
    if (!known_.empty()) {
      const Response response = known_.front();
      known_.pop_front();
      return response;
    }
    if (!load_) return {.code = kFinished, .range = {}};
    auto next = load_->next(std::nullopt);
    if (next && next->outcome == core::Load::Outcome::tensor) {
      const RangeName range = names_[next->lease->tag()];
      has_come_[next->lease->tag()] = true;
      next->lease->release();
      // With the last one the request is over: programs count, and ask for the next at once.
      if (--still_to_come_ == 0) load_.reset();
      return {.code = kSuccess, .range = range};
    }
    load_.reset();
    // All that did not come failed for the same reason.
    if (!next) {
      const Code code = code_of(next.error());
      for (std::size_t i = 0; i < names_.size(); ++i) {
        if (!has_come_[i]) known_.push_back({code, names_[i]});
      }
    }
    return respond();
  }

  [[nodiscard]] const core::Settings& settings() const { return settings_; }

 private:
  // As the original: s3://bucket/key, with a key; the scheme in lower case. All else is a path.
  static bool is_object(std::string_view path) {
    if (!path.starts_with("s3://") && !path.starts_with("gs://") && !path.starts_with("az://"))
      return false;
    const std::size_t slash = path.find('/', 5);
    return slash > 5 && slash < path.size() - 1;
  }

  static Code check(const Request& request) {
    if (request.paths.empty()) return kEmpty;
    if (request.destination == nullptr) return kInvalid;
    bool has_object = false;
    bool has_file = false;
    for (std::size_t i = 0; i < request.paths.size(); ++i) {
      if (request.paths[i] == nullptr) return kInvalid;
      if (request.sizes[i] == 0 || request.counts[i] == 0) return kEmpty;
      std::uint64_t all = 0;
      for (unsigned r = 0; r < request.counts[i]; ++r) {
        const auto sum = core::checked_add(all, request.ranges[i][r]);
        if (!sum) return kInvalid;
        all = *sum;
      }
      if (all > request.sizes[i]) return kInvalid;
      (is_object(request.paths[i]) ? has_object : has_file) = true;
    }
    return has_object && has_file ? kInvalid : kSuccess;
  }

  // What cannot come is known at once: a file that is not there fails its own ranges only.
  Result<void> start(const Request& request, core::Settings settings) {
    names_.clear();
    std::vector<core::Object> objects;
    std::vector<core::OpenedRange> ranges;
    std::vector<std::byte*> places;
    auto stores = std::make_shared<core::Stores>(settings);
    std::byte* to = request.destination;
    for (std::uint32_t file = 0; file < request.paths.size(); ++file) {
      auto object = open(*stores, request.paths[file]);
      std::uint64_t offset = request.offsets[file];
      std::byte* place = to;
      for (std::uint32_t index = 0; index < request.counts[file]; ++index) {
        const std::uint64_t bytes = request.ranges[file][index];
        if (!object) {
          known_.push_back({code_of(object.error()), {file, index}});
        } else if (offset > object->size || bytes > object->size - offset) {
          known_.push_back({kEndOfFile, {file, index}});
        } else {
          ranges.push_back({static_cast<std::uint32_t>(objects.size()), {offset, bytes}});
          places.push_back(place);
          names_.push_back({file, index});
        }
        offset += bytes;
        place += bytes;
      }
      if (object) objects.push_back(*std::move(object));
      to += request.sizes[file];
    }
    if (ranges.empty()) return {};
    return start_load(core::checkpoint_of(std::move(objects), ranges, std::move(stores)), places,
                      settings);
  }

  Result<void> start_load(std::shared_ptr<const core::Checkpoint> checkpoint,
                          const std::vector<std::byte*>& places, const core::Settings& settings) {
    has_come_.assign(names_.size(), false);
    still_to_come_ = names_.size();
    std::vector<core::PlanRequest> wanted;
    std::uint64_t bytes = 0;
    for (std::uint32_t t = 0; t < checkpoint->tensors.size(); ++t) {
      const std::uint64_t number = *core::parse_unsigned(checkpoint->tensors[t].name);
      wanted.push_back({.tensor = t, .destination = places[number], .tag = number});
      bytes += checkpoint->tensors[t].bytes.size;
    }
    core::LoadOptions options;
    // What the original reads with one worker comes in the order of the request.
    if (bytes <= kLeastChunkBytes) options.order = core::Order::plan;
    const core::LoadSettings read = TRY(core::read_load_settings(settings));
    load_ = TRY(core::Load::start(std::move(checkpoint), std::move(wanted), options, read));
    return {};
  }

  static Result<core::Object> open(core::Stores& stores, const std::string& path) {
    core::Uri uri("file", path);
    if (is_object(path)) uri = TRY(core::parse_uri(path));
    core::Store* const store = TRY(stores.of(uri));
    core::Opened opened = TRY(store->open(uri, 1));
    return std::move(opened.object);
  }

  core::Settings settings_;
  std::unique_ptr<core::Load> load_;
  std::deque<Response> known_;    // that need not be waited for
  std::vector<RangeName> names_;  // by tag
  std::vector<bool> has_come_;    // by tag
  std::size_t still_to_come_ = 0;
};

// Nothing that is thrown may leave.
template <typename Body>
int guarded(Body&& body) {
  try {
    return body();
  } catch (...) {
    return kUnknown;
  }
}

}  // namespace

extern "C" {

int runai_start(void** streamer) {
  if (streamer == nullptr) return kInvalid;
  return guarded([&]() -> int {
    auto made = Streamer::make();
    if (!made) return kInvalid;
    *streamer = *made;
    return kSuccess;
  });
}

void runai_end(void* streamer) {
  delete static_cast<Streamer*>(streamer);
}

int runai_request(void* streamer, unsigned num_files, const char** paths, size_t* file_offsets,
                  size_t* bytesizes, void** dsts, unsigned* num_sizes, size_t** internal_sizes,
                  const char* key, const char* secret, const char* token, const char* region,
                  const char* endpoint) {
  if (streamer == nullptr) return kInvalid;
  if (num_files != 0 && (paths == nullptr || file_offsets == nullptr || bytesizes == nullptr ||
                         dsts == nullptr || num_sizes == nullptr || internal_sizes == nullptr)) {
    return kInvalid;
  }
  return guarded([&]() -> int {
    auto& own = *static_cast<Streamer*>(streamer);
    core::Settings settings = own.settings();
    const std::array<std::pair<const char*, const char*>, 5> given = {{
        {"s3_access_key_id", key},
        {"s3_secret_access_key", secret},
        {"s3_session_token", token},
        {"s3_region", region},
        {"s3_endpoint", endpoint},
    }};
    for (const auto& [name, value] : given) {
      if (value != nullptr && *value != '\0' && !settings.set(name, value)) return kInvalid;
    }
    return own.request({.paths = {paths, num_files},
                        .offsets = {file_offsets, num_files},
                        .sizes = {bytesizes, num_files},
                        .counts = {num_sizes, num_files},
                        .ranges = {internal_sizes, num_files},
                        .destination = num_files == 0 ? nullptr : static_cast<std::byte*>(dsts[0])},
                       std::move(settings));
  });
}

int runai_response(void* streamer, unsigned* file_index, unsigned* index) {
  if (streamer == nullptr || file_index == nullptr || index == nullptr) return kInvalid;
  return guarded([&]() -> int {
    const Response response = static_cast<Streamer*>(streamer)->respond();
    *file_index = response.range.file;
    *index = response.range.index;
    return response.code;
  });
}

const char* runai_response_str(int code) {
  if (code < 0 || static_cast<std::size_t>(code) >= kTexts.size()) return "Invalid response code";
  return kTexts[static_cast<std::size_t>(code)];
}

}  // extern "C"
