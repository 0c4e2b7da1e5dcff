// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "operation.hpp"
#include "storage/cache/cache_walk.hpp"
#include "storage/uri.hpp"

using namespace streamer::capi;
namespace core = streamer::core;

namespace {

Result<core::CacheTask> task_of(streamer_cache_task task) {
  switch (task) {
    case STREAMER_CACHE_LIST:
      return core::CacheTask::list;
    case STREAMER_CACHE_VERIFY:
      return core::CacheTask::verify;
    case STREAMER_CACHE_REMOVE:
      return core::CacheTask::remove;
    default:
      return Error(core::ErrorKind::invalid_argument,
                   fmt::format("task is {}; it may be 0 (list), 1 (verify) or 2 (remove)", task));
  }
}

Result<streamer_status> walk(streamer_cache_task task, const char* uri,
                             const streamer_settings* settings, streamer_cached_callback callback,
                             void* user) {
  STREAMER_REQUIRE(callback);
  // As it was when its objects were cached: in the library's own spelling, without secrets.
  const std::string text = uri == nullptr ? "" : TRY(core::parse_uri(uri)).text();
  const core::CacheTask wanted = TRY(task_of(task));
  const core::Settings none;
  const auto visit = [&](const core::CachedVersion& version) {
    streamer_cached_info info = STREAMER_CACHED_INFO_INIT;
    info.uri = version.key.uri.c_str();
    info.etag = version.key.etag.c_str();
    info.object_bytes = version.key.size;
    info.cached_bytes = version.cached_bytes;
    info.bad_bytes = version.bad_bytes;
    info.disk_bytes = version.disk_bytes;
    info.last_used_ns = version.last_used_ns;
    callback(&info, user);
  };
  TRY(core::walk_cache(settings == nullptr ? none : settings->settings, wanted, text, visit));
  return STREAMER_OK;
}

}  // namespace

extern "C" streamer_status streamer_cache_walk(streamer_cache_task task, const char* uri,
                                               const streamer_settings* settings,
                                               streamer_operation* operation,
                                               streamer_cached_callback callback, void* user,
                                               streamer_error** error_out) {
  return operate("looking at cached weights", settings, operation, error_out,
                 [&] { return walk(task, uri, settings, callback, user); });
}
