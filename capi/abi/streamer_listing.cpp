// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <memory>

#include "checkpoint/checkpoint_settings.hpp"
#include "checkpoint/model_sources.hpp"
#include "doctor/device_way.hpp"
#include "doctor/doctor.hpp"
#include "download/pull.hpp"
#include "download/snapshot.hpp"
#include "download/snapshot_settings.hpp"
#include "engine/load_settings.hpp"
#include "operation.hpp"

using namespace streamer::capi;
namespace core = streamer::core;

namespace {

// Without the cache of weights, which is for loads: what a store has is asked of the store.
core::Stores stores_with(const streamer_settings* settings) {
  return core::Stores(settings == nullptr ? core::Settings() : settings->settings,
                      core::UseCache::never);
}

Result<std::uint64_t> bandwidth_of(const streamer_settings* settings) {
  return (settings == nullptr ? core::Settings() : settings->settings)
      .get(core::setting::kMaxBandwidth);
}

Result<streamer_status> open_listing(const char* uri, const streamer_settings* settings,
                                     core::ListDepth depth, streamer_listing** listing_out) {
  STREAMER_REQUIRE(uri);
  STREAMER_REQUIRE(listing_out);
  const core::Uri parsed = TRY(core::parse_uri(uri));
  core::Stores stores = stores_with(settings);
  core::Store* const store = TRY(stores.of(parsed));
  auto entries = TRY(store->list(parsed, depth));
  *listing_out = new streamer_listing{parsed.text(), std::move(entries), {}};
  return STREAMER_OK;
}

Result<streamer_status> open_model(const char* uri, const streamer_settings* settings,
                                   streamer_listing** listing_out) {
  STREAMER_REQUIRE(uri);
  STREAMER_REQUIRE(listing_out);
  core::Stores stores = stores_with(settings);
  core::ModelSources model = TRY(core::list_model(stores, uri));
  *listing_out = new streamer_listing{model.folder.text(), std::move(model.objects),
                                      joined_lines(model.notes)};
  return STREAMER_OK;
}

Result<std::vector<std::string>> strings(const char* const* texts, size_t count, const char* name) {
  if (count != 0 && texts == nullptr) return null_argument(name);
  std::vector<std::string> all;
  for (size_t i = 0; i < count; ++i) {
    if (texts[i] == nullptr) return null_argument(name);
    all.emplace_back(texts[i]);
  }
  return all;
}

Result<core::PullOptions> patterns_of(const streamer_pull_options* options) {
  core::PullOptions patterns;
  if (options == nullptr) return patterns;
  const streamer_pull_options defaults = STREAMER_PULL_OPTIONS_INIT;
  const streamer_pull_options given = TRY(copy_in(options, defaults));
  patterns.allow = TRY(strings(given.allow, given.allow_count, "allow"));
  patterns.ignore = TRY(strings(given.ignore, given.ignore_count, "ignore"));
  return patterns;
}

streamer_files* files_of(const std::string& folder, const std::vector<core::PulledFile>& pulled) {
  auto files = std::make_unique<streamer_files>();
  files->folder = folder;
  const core::Uri root("file", folder);
  for (const core::PulledFile& file : pulled)
    files->files.push_back(
        {core::child(root, file.path).text(), file.bytes, file.etag, file.was_there});
  return files.release();
}

core::DoctorReport report_to(streamer_step_callback callback, void* user) {
  return [callback, user](const core::DoctorStep& step) {
    const std::string detail = step.failure == nullptr ? step.detail : step.failure->line();
    streamer_step_info info = STREAMER_STEP_INFO_INIT;
    info.name = step.name.c_str();
    info.detail = detail.c_str();
    info.elapsed_ns = static_cast<uint64_t>(step.elapsed.count());
    info.status =
        step.failure == nullptr ? STREAMER_OK : static_cast<streamer_status>(step.failure->kind());
    callback(&info, user);
  };
}

}  // namespace

extern "C" {

streamer_status streamer_listing_open(const char* uri, const streamer_settings* settings,
                                      streamer_operation* operation, streamer_listing** listing_out,
                                      streamer_error** error_out) {
  return operate("listing", settings, operation, error_out, [&] {
    return open_listing(uri, settings, core::ListDepth::children, listing_out);
  });
}

streamer_status streamer_listing_open_all(const char* uri, const streamer_settings* settings,
                                          streamer_operation* operation,
                                          streamer_listing** listing_out,
                                          streamer_error** error_out) {
  return operate("listing", settings, operation, error_out,
                 [&] { return open_listing(uri, settings, core::ListDepth::all, listing_out); });
}

streamer_status streamer_listing_open_model(const char* uri, const streamer_settings* settings,
                                            streamer_operation* operation,
                                            streamer_listing** listing_out,
                                            streamer_error** error_out) {
  return operate("listing the model", settings, operation, error_out,
                 [&] { return open_model(uri, settings, listing_out); });
}

const char* streamer_listing_notes(const streamer_listing* listing) {
  return listing == nullptr ? "" : listing->notes.c_str();
}

streamer_status streamer_pull(const char* uri, const char* folder,
                              const streamer_pull_options* options,
                              const streamer_settings* settings, streamer_operation* operation,
                              streamer_files** files_out, streamer_error** error_out) {
  return operate("the pull", settings, operation, error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(uri);
    STREAMER_REQUIRE(folder);
    STREAMER_REQUIRE(files_out);
    const core::Uri parsed = TRY(core::parse_uri(uri));
    const core::PullOptions patterns = TRY(patterns_of(options));
    core::PullTarget target;
    target.bandwidth_bytes_per_s = TRY(bandwidth_of(settings));
    core::Stores stores = stores_with(settings);
    const auto pulled = TRY(core::pull(stores, parsed, folder, patterns, target));
    *files_out = files_of(folder, pulled);
    return STREAMER_OK;
  });
}

streamer_status streamer_snapshot(const char* uri, const streamer_pull_options* options,
                                  const streamer_settings* settings, streamer_operation* operation,
                                  streamer_files** files_out, streamer_error** error_out) {
  return operate(
      "taking the snapshot", settings, operation, error_out, [&]() -> Result<streamer_status> {
        STREAMER_REQUIRE(uri);
        STREAMER_REQUIRE(files_out);
        const core::Uri parsed = TRY(core::parse_uri(uri));
        core::SnapshotOptions wanted;
        wanted.files = TRY(patterns_of(options));
        wanted.bandwidth_bytes_per_s = TRY(bandwidth_of(settings));
        const core::Settings given = settings == nullptr ? core::Settings() : settings->settings;
        wanted.cache = TRY(given.get(core::setting::kCacheFolder)).value_or("");
        core::Stores stores(given);
        const core::Snapshot snapshot = TRY(core::take_snapshot(stores, parsed, wanted));
        *files_out = files_of(snapshot.folder, snapshot.files);
        return STREAMER_OK;
      });
}

streamer_status streamer_diagnose(const char* uri, const streamer_settings* settings,
                                  streamer_operation* operation, streamer_step_callback callback,
                                  void* user, streamer_error** error_out) {
  return operate("the diagnosis", settings, operation, error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(uri);
    STREAMER_REQUIRE(callback);
    const core::Uri parsed = TRY(core::parse_uri(uri));
    const core::Settings given = settings == nullptr ? core::Settings() : settings->settings;
    const core::OpenRules rules = TRY(core::read_open_rules(given));
    const auto stores = std::make_shared<core::Stores>(given, core::UseCache::never);
    TRY(core::diagnose(stores, parsed, rules, report_to(callback, user)));
    return STREAMER_OK;
  });
}

streamer_status streamer_diagnose_device(streamer_device device, streamer_operation* operation,
                                         streamer_step_callback callback, void* user,
                                         streamer_error** error_out) {
  return operate("the diagnosis", nullptr, operation, error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(callback);
    const core::Device given = TRY(check_device(device));
    if (given.is_host())
      return Error(ErrorKind::invalid_argument,
                   "the way to a device is diagnosed, and the device is the host");
    TRY(core::diagnose_device(given, report_to(callback, user)));
    return STREAMER_OK;
  });
}

size_t streamer_listing_count(const streamer_listing* listing) {
  return listing == nullptr ? 0 : listing->entries.size();
}

streamer_status streamer_listing_get_info(const streamer_listing* listing, size_t index,
                                          streamer_entry_info* info_out,
                                          streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(listing);
    STREAMER_REQUIRE(info_out);
    if (index >= listing->entries.size()) {
      return Error(ErrorKind::invalid_argument,
                   fmt::format("entry number {} is not below the count, {}", index,
                               listing->entries.size()));
    }
    const core::Entry& entry = listing->entries[index];
    streamer_entry_info info = STREAMER_ENTRY_INFO_INIT;
    info.uri = entry.uri.text().c_str();
    info.bytes = entry.size;
    info.is_folder = entry.is_folder ? 1 : 0;
    info.etag = entry.etag.c_str();
    TRY(copy_out(info, info_out));
    return STREAMER_OK;
  });
}

const char* streamer_listing_root(const streamer_listing* listing) {
  return listing == nullptr ? "" : listing->root.c_str();
}

void streamer_listing_close(streamer_listing* listing) {
  delete listing;
}

const char* streamer_files_folder(const streamer_files* files) {
  return files == nullptr ? "" : files->folder.c_str();
}

size_t streamer_files_count(const streamer_files* files) {
  return files == nullptr ? 0 : files->files.size();
}

streamer_status streamer_files_get_info(const streamer_files* files, size_t index,
                                        streamer_file_info* info_out, streamer_error** error_out) {
  return guarded(error_out, [&]() -> Result<streamer_status> {
    STREAMER_REQUIRE(files);
    STREAMER_REQUIRE(info_out);
    if (index >= files->files.size())
      return Error(
          ErrorKind::invalid_argument,
          fmt::format("file number {} is not below the count, {}", index, files->files.size()));
    const streamer_files::File& file = files->files[index];
    streamer_file_info info = STREAMER_FILE_INFO_INIT;
    info.path = file.path.c_str();
    info.bytes = file.bytes;
    info.etag = file.etag.c_str();
    info.was_there = file.was_there ? 1 : 0;
    TRY(copy_out(info, info_out));
    return STREAMER_OK;
  });
}

void streamer_files_close(streamer_files* files) {
  delete files;
}

}  // extern "C"
